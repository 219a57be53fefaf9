"""Watching a run while it is logged to, drawing it, and asking it to stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from headrace.client import EventProducer
from headrace.events import MetricColumn, RunReported

OWN = "/api/tracking/v1/runs"
Frame = tuple[str, dict[str, object]]


@contextmanager
def watching(http: httpx.Client, run_id: str) -> Iterator[Iterator[Frame]]:
    """Events of a run's stream as they come."""
    with http.stream("GET", f"{OWN}/{run_id}/tail") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _frames(answer.iter_lines())


def _frames(lines: Iterator[str]) -> Iterator[Frame]:
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def next_of(frames: Iterator[Frame], kind: str, member: str = "") -> dict[str, object]:
    """The next event of a kind that has something of a member."""
    return next(data for name, data in frames if name == kind and (not member or data[member]))


def test_a_watcher_sees_the_run_then_each_point_then_its_end(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.log_metric(run_id, "loss", 1.0, timestamp=5, step=0)
    with watching(http, run_id) as frames:
        kind, first = next(frames)
        assert kind == "run"
        assert "loss" in json.dumps(first["data"])
        client.log_metric(run_id, "loss", 0.5, timestamp=6, step=1)
        assert next_of(frames, "logged", "metrics")["metrics"] == [
            {"key": "loss", "values": [0.5], "timestamps": [6], "steps": [1]}
        ]
        client.set_tag(run_id, "phase", "late")
        while "phase" not in str(next_of(frames, "logged", "tags")["tags"]):
            pass
        client.set_terminated(run_id)
        assert next_of(frames, "finished")["status"] == "FINISHED"


def test_a_watcher_sees_also_what_a_search_brings_into_summaries(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    with watching(http, run_id) as frames:
        assert next(frames)[0] == "run"
        for number in range(10):
            client.set_tag(run_id, f"tag{number}", "set")
            client.search_runs([experiment], filter_string="metrics.loss > 0")
        client.set_terminated(run_id)
        told = [str(data["tags"]) for kind, data in frames if kind == "logged"]
    assert all(f"tag{number}" in "".join(told) for number in range(10))


async def test_a_watcher_sees_what_comes_by_kafka(
    client: MlflowClient, http: httpx.Client, kafka: str
) -> None:
    name = f"watched {uuid4()}"
    run_id = client.create_run(client.create_experiment(name)).info.run_id
    with watching(http, run_id) as frames:
        assert next(frames)[0] == "run"
        async with EventProducer(kafka=kafka, source="/test") as producer:
            points = MetricColumn(key="auc", values=[0.7], timestamps=[1], steps=[3])
            await producer.emit(RunReported(run_id=run_id, experiment=name, metrics=[points]))
        logged = next_of(frames, "logged", "metrics")["metrics"]
    assert logged == [{"key": "auc", "values": [0.7], "timestamps": [1], "steps": [3]}]


def test_a_run_that_nobody_made_cannot_be_watched(http: httpx.Client) -> None:
    answer = http.get(f"{OWN}/{uuid4().hex}/tail")
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_a_run_asked_to_stop_ends_as_killed_with_an_unmodified_client(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    def train() -> None:
        with mlflow.start_run(experiment_id=experiment) as run:
            mlflow.log_metric("loss", 1.0, step=0)
            asked = http.post(f"{OWN}/{run.info.run_id}/stop", json={})
            assert asked.status_code == 200
            again = http.post(f"{OWN}/{run.info.run_id}/stop", json={})
            assert again.json() == asked.json()
            mlflow.log_metric("loss", 0.5, step=1)

    with pytest.raises(MlflowException, match="RUN_STOP_REQUESTED"):
        train()
    (run,) = client.search_runs([experiment])
    assert run.info.status == "KILLED"
    assert run.data.metrics == {"loss": 1.0}
    assert "headrace.stopRequestedAt" in run.data.tags


def test_a_run_that_has_ended_cannot_be_stopped(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.set_terminated(run_id)
    answer = http.post(f"{OWN}/{run_id}/stop", json={})
    assert answer.status_code == 400
    assert "has ended" in answer.json()["message"]


def test_a_chart_keeps_spikes_and_says_nan(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    metrics: list[dict[str, object]] = [
        {"key": "x", "value": 100 if step == 777 else 1, "timestamp": step, "step": step}
        for step in range(1000)
    ]
    metrics[0]["value"] = "NaN"
    body = {"run_id": run_id, "metrics": metrics}
    assert http.post("/api/2.0/mlflow/runs/log-batch", json=body).status_code == 200
    drawn = http.get(f"{OWN}/{run_id}/chart", params={"key": "x", "width": 20}).json()
    (x,) = drawn["metrics"]
    assert len(x["steps"]) <= 42
    assert (x["steps"][0], x["values"][0], x["steps"][-1]) == (0, "NaN", 999)
    assert 100 in x["values"]
    assert http.get(f"{OWN}/{run_id}/chart", params={"key": "x", "width": 0}).status_code == 400
