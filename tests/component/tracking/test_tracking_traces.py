"""Traces of an unmodified client: what it sends is what it reads back."""

from __future__ import annotations

import time

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import SpanEvent, SpanStatusCode, Trace
from mlflow.entities.model_registry import PromptVersion
from mlflow.exceptions import MlflowException
from mlflow.tracing.client import TracingClient


def last_trace() -> Trace:
    trace_id = mlflow.get_last_active_trace_id()
    assert trace_id is not None
    trace = mlflow.get_trace(trace_id)
    assert trace is not None
    return trace


def one_trace(name: str = "work", **tags: str) -> str:
    """The id of a new trace of one span."""
    with mlflow.start_span(name) as span:
        mlflow.update_current_trace(tags=tags)
    return str(span.trace_id)


def test_a_decorated_function_is_traced_with_inputs_and_outputs(traced: str) -> None:
    def add(left: int, right: int) -> int:
        return left + right

    decorate = mlflow.trace(name="adder", span_type="TOOL", attributes={"unit": "mm"})
    assert decorate(add)(2, right=3) == 5
    trace = last_trace()
    assert trace.info.experiment_id == traced
    assert trace.info.state == "OK"
    assert trace.info.tags["mlflow.traceName"] == "adder"
    assert trace.info.tags["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    root = f"mlflow-artifacts:/{traced}/traces/{trace.info.trace_id}/artifacts"
    assert trace.info.tags["mlflow.artifactLocation"] == root
    (span,) = trace.data.spans
    assert (span.name, span.span_type, span.parent_id) == ("adder", "TOOL", None)
    assert span.inputs == {"left": 2, "right": 3}
    assert span.outputs == 5
    assert span.attributes["unit"] == "mm"
    assert abs(time.time() * 1000 - trace.info.request_time) < 60_000


@pytest.mark.usefixtures("traced")
def test_nested_spans_keep_their_tree_their_values_and_their_events() -> None:
    values = {"text": "ä", "list": [1, 2.5, None, True], "map": {"deep": [{}]}, "nan": "NaN"}
    with mlflow.start_span("outer") as outer:
        outer.set_inputs(values)
        with mlflow.start_span("inner", span_type="LLM") as inner:
            inner.set_attribute("temperature", 0.5)
            inner.add_event(SpanEvent("token", timestamp=123, attributes={"n": 1, "s": "x"}))
        with mlflow.start_span("second"):
            pass
        outer.set_outputs([values])
    spans = last_trace().data.spans
    assert [span.name for span in spans] == ["outer", "inner", "second"]
    assert spans[0].inputs == values
    assert spans[0].outputs == [values]
    assert {span.parent_id for span in spans[1:]} == {spans[0].span_id}
    assert spans[1].attributes["temperature"] == 0.5
    (event,) = spans[1].events
    assert (event.name, event.timestamp, event.attributes) == ("token", 123, {"n": 1, "s": "x"})
    assert spans[0].end_time_ns >= spans[2].end_time_ns > spans[2].start_time_ns


@pytest.mark.usefixtures("traced")
def test_an_exception_is_the_state_of_the_trace_and_an_event_of_its_span() -> None:
    def fail() -> None:
        raise ValueError("no such mill")

    with pytest.raises(ValueError, match="no such mill"):
        mlflow.trace(fail)()
    trace = last_trace()
    assert trace.info.state == "ERROR"
    (span,) = trace.data.spans
    assert span.status.status_code == SpanStatusCode.ERROR
    assert "no such mill" in span.status.description
    assert span.events[0].attributes["exception.message"] == "no such mill"


def test_session_user_tags_and_previews_are_kept(client: MlflowClient, traced: str) -> None:
    with mlflow.start_run(experiment_id=traced) as run, mlflow.start_span("chat") as span:
        span.set_inputs({"question": "why"})
        mlflow.update_current_trace(
            tags={"topic": "mills"},
            metadata={"mlflow.trace.session": "s-1", "mlflow.trace.user": "ada"},
            client_request_id="request-7",
            response_preview="because",
        )
    info = last_trace().info
    assert info.tags["topic"] == "mills"
    assert info.trace_metadata["mlflow.trace.session"] == "s-1"
    assert info.trace_metadata["mlflow.trace.user"] == "ada"
    assert info.trace_metadata["mlflow.sourceRun"] == run.info.run_id
    assert info.client_request_id == "request-7"
    assert info.request_preview == '{"question": "why"}'
    assert info.response_preview == "because"
    found = client.search_traces(locations=[traced], run_id=run.info.run_id)
    assert [one.info.trace_id for one in found] == [info.trace_id]


def test_asynchronous_export_arrives_whole(
    client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "true")
    mlflow.tracing.reset()
    mlflow.set_experiment(experiment_id=experiment)
    for number in range(20):
        with mlflow.start_span(f"outer {number}"), mlflow.start_span("inner"):
            pass
    mlflow.flush_trace_async_logging()
    mlflow.tracing.reset()
    found = client.search_traces(locations=[experiment], max_results=50)
    assert {one.info.tags["mlflow.traceName"] for one in found} == {
        f"outer {number}" for number in range(20)
    }
    assert all([span.name for span in one.data.spans][1:] == ["inner"] for one in found)


@pytest.mark.usefixtures("traced")
def test_tags_of_a_trace_are_set_changed_and_deleted(client: MlflowClient) -> None:
    trace_id = one_trace(kept="1", changed="old")
    client.set_trace_tag(trace_id, "changed", "new")
    client.set_trace_tag(trace_id, "gone", "x")
    client.delete_trace_tag(trace_id, "gone")
    client.set_trace_tag(trace_id, "mlflow.traceName", "renamed")
    tags = client.get_trace(trace_id).info.tags
    assert (tags["kept"], tags["changed"], tags["mlflow.traceName"]) == ("1", "new", "renamed")
    assert "gone" not in tags
    with pytest.raises(MlflowException, match="No trace tag with key 'gone'"):
        client.delete_trace_tag(trace_id, "gone")
    with pytest.raises(MlflowException, match="Trace with ID 'tr-none' not found"):
        client.set_trace_tag("tr-none", "a", "b")


@pytest.mark.usefixtures("traced")
def test_a_trace_that_does_not_exist_is_not_found(client: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="Trace with ID 'tr-none' not found"):
        client.get_trace("tr-none")


def test_traces_are_deleted_by_id_with_their_spans(client: MlflowClient, traced: str) -> None:
    first, second, third = (one_trace(f"t{place}") for place in range(3))
    assert client.delete_traces(traced, trace_ids=[first, "tr-none"]) == 1
    with pytest.raises(MlflowException, match="not found"):
        client.get_trace(first)
    left = client.search_traces(locations=[traced])
    assert {one.info.trace_id for one in left} == {second, third}
    assert client.delete_traces("0", trace_ids=[second]) == 0


def test_the_oldest_traces_are_deleted_until_a_time(client: MlflowClient, traced: str) -> None:
    ids = []
    for place in range(4):
        span = mlflow.start_span_no_context(f"t{place}", start_time_ns=(place + 1) * 10**9)
        span.end(end_time_ns=(place + 2) * 10**9)
        ids.append(span.trace_id)
    assert client.delete_traces(traced, max_timestamp_millis=3000, max_traces=1) == 1
    assert client.delete_traces(traced, max_timestamp_millis=3000) == 2
    left = client.search_traces(locations=[traced])
    assert [one.info.trace_id for one in left] == [ids[3]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Either `max_timestamp_millis` or `trace_ids` must be specified."),
        (
            {"max_timestamp_millis": 1, "request_ids": ["a"]},
            "Only one of `max_timestamp_millis` and `trace_ids` can be specified.",
        ),
        (
            {"max_timestamp_millis": 1, "max_traces": 0},
            "`max_traces` must be a positive integer, received 0.",
        ),
    ],
)
def test_a_deletion_must_say_what(
    http: httpx.Client, fields: dict[str, object], message: str
) -> None:
    body = {"experiment_id": "0", **fields}
    answer = http.post("/api/2.0/mlflow/traces/delete-traces", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"] == message


def test_traces_are_linked_to_a_run_and_found_by_it(client: MlflowClient, traced: str) -> None:
    linked, other = one_trace("linked"), one_trace("other")
    run = client.create_run(traced)
    client.link_traces_to_run([linked], run.info.run_id)
    client.link_traces_to_run([linked], run.info.run_id)
    found = client.search_traces(locations=[traced], run_id=run.info.run_id)
    assert [one.info.trace_id for one in found] == [linked]
    with pytest.raises(MlflowException, match="Run with id=none not found"):
        client.link_traces_to_run([other], "none")
    with pytest.raises(MlflowException, match="Cannot link more than 100 traces"):
        client.link_traces_to_run([other] * 101, run.info.run_id)


def test_prompt_versions_are_linked_to_a_trace_and_it_is_found_by_them(
    client: MlflowClient, traced: str
) -> None:
    trace_id, _ = one_trace(), one_trace()
    prompt = PromptVersion(name="greeting", version=2, template="hi")
    TracingClient().store.link_prompts_to_trace(trace_id, [prompt])
    found = client.search_traces(locations=[traced], filter_string="prompt = 'greeting/2'")
    assert [one.info.trace_id for one in found] == [trace_id]
    with pytest.raises(MlflowException, match="not found"):
        TracingClient().store.link_prompts_to_trace("tr-none", [prompt])


def test_a_trace_that_is_started_twice_is_one(http: httpx.Client, traced: str) -> None:
    info = {
        "trace_id": f"tr-{traced:0>32}",
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": traced},
        },
        "request_time": "2026-01-02T03:04:05.678Z",
        "execution_duration": "1.5s",
        "state": "OK",
        "tags": {"a": "1"},
        "assessments": [
            {
                "assessment_name": "good",
                "source": {"source_type": "HUMAN", "source_id": "ada"},
                "feedback": {"value": True},
                "create_time": "2026-01-02T03:04:05Z",
            }
        ],
    }
    body = {"trace": {"trace_info": info}}
    first = http.post("/api/3.0/mlflow/traces", json=body).json()["trace"]["trace_info"]
    again = http.post("/api/3.0/mlflow/traces", json=body).json()["trace"]["trace_info"]
    assert first == again
    assert first["request_time"] == "2026-01-02T03:04:05.678Z"
    assert first["execution_duration"] == "1.500s"
    assert first["tags"]["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    assert len(first["assessments"]) == 1


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"trace_id": ""}, "trace_id"),
        ({"trace_id": "x" * 251}, "trace_id"),
        ({"trace_location": None}, "trace_location"),
        ({"request_time": "yesterday"}, "request_time"),
        ({"execution_duration": "long"}, "execution_duration"),
        ({"state": "FINE"}, "state"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"trace_metadata": {"k" * 251: "v"}}, "trace_metadata key"),
    ],
)
def test_what_is_wrong_with_a_started_trace_is_named(
    http: httpx.Client, change: dict[str, object], part: str
) -> None:
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    info = {"trace_id": "tr-1", "trace_location": location, "state": "OK", **change}
    answer = http.post("/api/3.0/mlflow/traces", json={"trace": {"trace_info": info}})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert part in answer.json()["message"]


@pytest.mark.usefixtures("traced")
def test_traces_are_written_by_the_imperative_client(client: MlflowClient) -> None:
    root = client.start_trace("imperative", inputs={"x": 1}, tags={"a": "b"})
    child = client.start_span("child", trace_id=root.trace_id, parent_id=root.span_id)
    client.end_span(root.trace_id, child.span_id, outputs=2)
    client.end_trace(root.trace_id, outputs={"y": 2}, status="ERROR")
    made = client.get_trace(root.trace_id)
    assert (made.info.state, made.info.tags["a"]) == ("ERROR", "b")
    assert [span.name for span in made.data.spans] == ["imperative", "child"]


def test_a_trace_without_its_spans_waits_for_them_and_says_so(
    http: httpx.Client, traced: str
) -> None:
    location = {"mlflow_experiment": {"experiment_id": traced}}
    trace_id = f"tr-{'ab' * 16}"
    info = {"trace_id": trace_id, "trace_location": location, "state": "OK"}
    started = http.post("/api/3.0/mlflow/traces", json={"trace": {"trace_info": info}})
    assert started.status_code == 200
    query = {"trace_id": trace_id}
    answer = http.get("/api/3.0/mlflow/traces/get", params=query)
    assert answer.status_code == 404
    assert "is not fully exported yet" in answer.json()["message"]
    batch = http.get("/api/3.0/mlflow/traces/batchGet", params={"trace_ids": trace_id})
    assert batch.json() == {}
    infos = http.post(
        "/api/3.0/mlflow/traces/batchGetInfos", json={"trace_ids": [trace_id, "tr-none"]}
    )
    assert [one["trace_id"] for one in infos.json()["trace_infos"]] == [trace_id]
