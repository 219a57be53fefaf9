"""Search for traces: every field, every operator, every order."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import SpanStatusCode
from mlflow.exceptions import MlflowException

SECOND = 10**9


def make(name: str, second: int, seconds: int = 1, *, fail: bool = False, **tags: str) -> str:
    """A trace that begins in a second of 1970; one inner span named like it."""
    root = mlflow.start_span_no_context(
        name, start_time_ns=second * SECOND, inputs={"asked": name}, tags=tags
    )
    inner = mlflow.start_span_no_context(
        f"{name} inner", parent_span=root, span_type="LLM", start_time_ns=second * SECOND
    )
    inner.set_attributes({"model": f"gpt-{second}", "size": second})
    inner.end(
        status=SpanStatusCode.ERROR if fail else SpanStatusCode.OK, end_time_ns=second * SECOND + 1
    )
    root.set_outputs(f"Answer to {name}")
    root.end(
        status=SpanStatusCode.ERROR if fail else SpanStatusCode.OK,
        end_time_ns=(second + seconds) * SECOND,
    )
    return str(root.trace_id)


@pytest.fixture(scope="module")
def module_tracing() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        patched.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        yield


@pytest.fixture(scope="module")
def traces(tracking: object, module_tracing: None) -> Iterator[tuple[str, dict[str, str]]]:
    """An experiment with four traces: its id, and names by trace id."""
    _ = module_tracing
    mlflow.set_tracking_uri(getattr(tracking, "url"))  # noqa: B009
    mlflow.tracing.reset()
    experiment = str(MlflowClient().create_experiment("traces to search"))
    mlflow.set_experiment(experiment_id=experiment)
    ids = {
        make("alpha", 10, team="red", size="1"): "alpha",
        make("beta", 20, 5, team="blue"): "beta",
        make("gamma", 30, 2, fail=True, team="Red"): "gamma",
        make("delta ü", 40): "delta ü",
    }
    by_name = {name: trace_id for trace_id, name in ids.items()}
    mlflow.log_feedback(trace_id=by_name["alpha"], name="score", value=0.9)
    mlflow.log_feedback(trace_id=by_name["beta"], name="score", value=0.1)
    mlflow.log_feedback(trace_id=by_name["beta"], name="verdict", value="bad")
    mlflow.log_feedback(trace_id=by_name["gamma"], name="verdict", value=True)
    mlflow.log_expectation(trace_id=by_name["gamma"], name="answer", value="42")
    yield experiment, ids
    mlflow.tracing.reset()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "alpha beta gamma delta"),
        ("status = 'OK'", "alpha beta delta"),
        ("trace.status = 'ERROR'", "gamma"),
        ("attributes.status IN ('ERROR', 'IN_PROGRESS')", "gamma"),
        ("status != 'OK'", "gamma"),
        ("name = 'alpha'", "alpha"),
        ("name LIKE '%a'", "alpha beta gamma"),
        ("name ILIKE 'AL%'", "alpha"),
        ("name RLIKE '^(alpha|beta)$'", "alpha beta"),
        ("name NOT IN ('alpha')", "beta gamma delta"),
        ("timestamp > 10000", "beta gamma delta"),
        ("timestamp_ms >= 20000 AND timestamp_ms < 40000", "beta gamma"),
        ("execution_time > 1000", "beta gamma"),
        ("execution_time_ms = 5000", "beta"),
        ("end_time <= 25000", "alpha beta"),
        ("tag.team = 'red'", "alpha"),
        ("tags.team ILIKE 'red'", "alpha gamma"),
        ("tags.`team` != 'red'", "beta gamma"),
        ("tag.team IS NULL", "delta"),
        ("tag.size IS NOT NULL", "alpha"),
        ("tag.mlflow.traceName = 'beta'", "beta"),
        ("metadata.`mlflow.trace_schema.version` = '3'", "alpha beta gamma delta"),
        ("request_metadata.nothing IS NOT NULL", ""),
        ("span.name = 'beta inner'", "beta"),
        ("span.name LIKE '%inner'", "alpha beta gamma delta"),
        ("span.type = 'LLM' AND span.name = 'beta'", ""),
        ("span.type IN ('LLM') AND span.name = 'beta inner'", "beta"),
        ("span.status = 'ERROR'", "gamma"),
        ("span.attributes.model = 'gpt-20'", "beta"),
        ("span.attributes.model LIKE '%-3%'", "gamma"),
        ("span.attributes.model RLIKE 'gpt-[12]0'", "alpha beta"),
        ("span.attributes.size = '10'", "alpha"),
        ("span.content LIKE '%Answer to delta ü%'", "delta"),
        ("text ILIKE '%ANSWER TO ALPHA%'", "alpha"),
        ("feedback.score > 0.5", "alpha"),
        ("feedback.score <= 0.9", "alpha beta"),
        ("feedback.verdict = 'bad'", "beta"),
        ("feedback.verdict = 'true'", "gamma"),
        ("feedback.score IS NOT NULL", "alpha beta"),
        ("feedback.score IS NULL", "gamma delta"),
        ("expectation.answer = '42'", "gamma"),
        ("expectation.score > 0", ""),
        ("name = 'alpha' OR tag.team = 'blue'", "alpha beta"),
        ("NOT (status = 'OK' AND tag.team = 'red')", "beta gamma delta"),
        ("NOT span.attributes.model LIKE '%-3%' AND tag.team IS NOT NULL", "alpha beta"),
        ("span.status = 'ERROR' OR name = 'alpha'", "alpha gamma"),
        ("status = 'OK' AND (span.name = 'beta' OR feedback.score > 0.5)", "alpha beta"),
    ],
)
def test_a_filter_finds(
    traces: tuple[str, dict[str, str]], client: MlflowClient, text: str, names: str
) -> None:
    experiment, ids = traces
    found = client.search_traces(
        locations=[experiment], filter_string=text, order_by=["timestamp ASC"]
    )
    assert [ids[one.info.trace_id].split()[0] for one in found] == names.split()


def test_ids_find_their_trace(traces: tuple[str, dict[str, str]], client: MlflowClient) -> None:
    experiment, ids = traces
    for text in ("request_id = '{}'", "trace.trace_id IN ('{}')"):
        one = next(iter(ids))
        found = client.search_traces(locations=[experiment], filter_string=text.format(one))
        assert [trace.info.trace_id for trace in found] == [one]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ([], "delta gamma beta alpha"),
        (["timestamp_ms ASC"], "alpha beta gamma delta"),
        (["execution_time DESC"], "beta gamma delta alpha"),
        (["status", "name DESC"], "gamma delta beta alpha"),
        (["tag.team DESC", "timestamp ASC"], "alpha beta gamma delta"),
        (["name"], "alpha beta delta gamma"),
        (["end_time DESC"], "delta gamma beta alpha"),
        (["experiment_id", "request_time"], None),
    ],
)
def test_an_order_sorts(
    traces: tuple[str, dict[str, str]],
    client: MlflowClient,
    order: list[str],
    names: str | None,
) -> None:
    experiment, ids = traces
    if names is None:
        with pytest.raises(MlflowException, match="Invalid attribute key 'request_time'"):
            client.search_traces(locations=[experiment], order_by=order)
        return
    found = client.search_traces(locations=[experiment], order_by=order, include_spans=False)
    assert [ids[one.info.trace_id].split()[0] for one in found] == names.split()


@pytest.mark.parametrize("text", [None, "span.type = 'LLM'"])
def test_pages_hold_everything_once(
    traces: tuple[str, dict[str, str]], client: MlflowClient, text: str | None
) -> None:
    experiment, ids = traces
    seen: list[str] = []
    token = None
    for _ in range(len(ids) + 1):
        page = client.search_traces(
            locations=[experiment], max_results=1, page_token=token, filter_string=text
        )
        seen.extend(one.info.trace_id for one in page)
        token = page.token
        if token is None:
            break
    assert sorted(seen) == sorted(ids)


def test_a_data_frame_of_traces_has_their_spans(traces: tuple[str, dict[str, str]]) -> None:
    experiment, ids = traces
    frame = mlflow.search_traces(locations=[experiment])
    assert len(frame) == len(ids)
    assert {len(spans) for spans in frame["spans"]} == {2}


def test_other_experiments_are_not_searched(
    traces: tuple[str, dict[str, str]], client: MlflowClient, experiment: str
) -> None:
    assert client.search_traces(locations=[experiment]) == []
    both = client.search_traces(locations=[experiment, traces[0]])
    assert len(both) == len(traces[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo.bar = 'x'", "Invalid entity type 'foo'"),
        ("duration = 5", "Invalid attribute key 'duration' specified"),
        ("status", "Invalid clause(s) in filter string"),
        ("status = 'OK' AND", "Invalid clause(s) in filter string"),
        ("status = OK", "Expected a quoted string value"),
        ("timestamp = 'x'", "Expected numeric value type for numeric attribute: timestamp_ms"),
        ("timestamp LIKE '1'", "Invalid comparator 'LIKE'"),
        ("span.color = 'x'", "Invalid span attribute 'color'"),
        ("span.content = 'x'", "Invalid comparator '='"),
        ("name RLIKE '('", "Invalid regular expression"),
        ("name IN ()", "expected a non-empty list of string values"),
        ("feedback.score > 'x'", "Expected numeric value type"),
        ("(status = 'OK'", "Invalid clause(s) in filter string"),
        ("issue.name = 'x'", "Invalid issue attribute 'name'"),
    ],
)
def test_a_wrong_filter_is_refused_by_name(http: httpx.Client, text: str, message: str) -> None:
    place = {"mlflow_experiment": {"experiment_id": "0"}}
    answer = http.post("/api/3.0/mlflow/traces/search", json={"locations": [place], "filter": text})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert message in answer.json()["message"]


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"max_results": 501}, "max_results"),
        ({"max_results": 0}, "max_results"),
        ({"order_by": ["name", "name DESC"]}, "duplicate"),
        ({"order_by": ["name SIDEWAYS"]}, "order_by"),
        ({"order_by": ["span.name"]}, "order_by"),
        ({"page_token": "!"}, "page token"),
        ({"locations": []}, "locations"),
    ],
)
def test_a_wrong_search_is_refused_by_name(
    http: httpx.Client, fields: dict[str, object], part: str
) -> None:
    place = {"mlflow_experiment": {"experiment_id": "0"}}
    answer = http.post("/api/3.0/mlflow/traces/search", json={"locations": [place], **fields})
    assert answer.status_code == 400
    assert part in answer.json()["message"]


def test_two_filters_are_correlated(traces: tuple[str, dict[str, str]]) -> None:
    store = mlflow.tracing.client.TracingClient().store
    same = store.calculate_trace_filter_correlation(
        [traces[0]], "tag.team = 'red'", "name = 'alpha'"
    )
    assert (same.filter1_count, same.filter2_count, same.joint_count) == (1, 1, 1)
    assert same.total_count == 4
    assert same.npmi == pytest.approx(1.0)
    never = store.calculate_trace_filter_correlation(
        [traces[0]], "tag.team = 'red'", "name = 'beta'"
    )
    assert never.npmi == -1.0


def test_feedback_on_a_session_is_found_with_all_its_traces(
    client: MlflowClient, traced: str
) -> None:
    ids = []
    for session in ("one", "one", "other"):
        with mlflow.start_span("chat") as span:
            mlflow.update_current_trace(metadata={"mlflow.trace.session": session})
        ids.append(span.trace_id)
    about = {"mlflow.trace.session": "one"}
    mlflow.log_feedback(trace_id=ids[0], name="polite", value="yes", metadata=about)
    found = client.search_traces(locations=[traced], filter_string="feedback.polite = 'yes'")
    assert {one.info.trace_id for one in found} == set(ids[:2])
    without = client.search_traces(locations=[traced], filter_string="feedback.polite IS NULL")
    assert [one.info.trace_id for one in without] == ids[2:]
