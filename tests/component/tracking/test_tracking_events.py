"""What tracking says of runs: summaries, once, in order, with the caller's correlation."""

from __future__ import annotations

import math
from uuid import uuid4

import httpx

from headrace.events import RunFinished, RunLogged
from tests.component.tracking.listening import listening

API = "/api/2.0/mlflow"


def new_run(http: httpx.Client) -> str:
    made = http.post(f"{API}/experiments/create", json={"name": f"events {uuid4()}"}).json()
    run = http.post(f"{API}/runs/create", json={**made, "run_name": "told", "start_time": 1000})
    return str(run.json()["run"]["info"]["run_id"])


def ask(http: httpx.Client, path: str, body: dict[str, object], **headers: str) -> int:
    return http.post(f"{API}/{path}", json=body, headers=headers).status_code


def finish(http: httpx.Client, run_id: str) -> None:
    body: dict[str, object] = {"run_id": run_id, "status": "FINISHED", "end_time": 2000}
    assert ask(http, "runs/update", body) == 200


async def test_a_run_is_told_as_summaries_and_then_as_finished(
    http: httpx.Client, kafka: str
) -> None:
    async with listening(kafka) as ear:
        run_id = new_run(http)
        metrics = [
            {"key": "loss", "value": value, "timestamp": 10 + step, "step": step}
            for step, value in enumerate([3.0, 1.0, 2.0, "NaN"])
        ]
        body: dict[str, object] = {
            "run_id": run_id,
            "metrics": metrics,
            "params": [{"key": "lr", "value": "0.1"}],
            "tags": [{"key": "t", "value": "x"}],
        }
        headers = {"x-correlation-id": "turn-7", "x-causation-id": "event-3"}
        assert ask(http, "runs/log-batch", body, **headers) == 200
        finish(http, run_id)
        made, logged, finished = await ear.until_finished(run_id)
    assert isinstance(made.data, RunLogged)
    assert made.data.tags == {"mlflow.runName": "told"}
    assert isinstance(logged.data, RunLogged)
    assert (logged.data.params, logged.data.tags) == ({"lr": "0.1"}, {"t": "x"})
    (loss,) = logged.data.metrics
    assert (loss.key, loss.step, loss.timestamp, loss.count) == ("loss", 3, 13, 4)
    assert (loss.minimum, loss.maximum) == (1.0, 3.0)
    assert math.isnan(loss.last)
    assert logged.envelope.correlation_id == "turn-7"
    assert logged.envelope.causation_id == "event-3"
    assert isinstance(finished.data, RunFinished)
    assert finished.data.status == "FINISHED"
    assert finished.data.finished_at.timestamp() == 2
    assert finished.data.started_at is not None
    assert math.isnan(finished.data.metrics["loss"])


async def test_a_repetition_tells_nothing(http: httpx.Client, kafka: str) -> None:
    async with listening(kafka) as ear:
        run_id = new_run(http)
        body: dict[str, object] = {
            "run_id": run_id,
            "metrics": [{"key": "loss", "value": 1, "timestamp": 1, "step": 1}],
            "params": [{"key": "lr", "value": "0.1"}],
            "tags": [{"key": "t", "value": "x"}],
        }
        for _ in range(3):
            assert ask(http, "runs/log-batch", body) == 200
        finish(http, run_id)
        finish(http, run_id)
        told = await ear.until_finished(run_id)
    logged = [one.data for one in told[:-1] if isinstance(one.data, RunLogged)]
    assert [metric.count for one in logged for metric in one.metrics] == [1]
    assert [key for one in logged for key in one.params] == ["lr"]
    assert [key for one in logged for key in one.tags if key == "t"] == ["t"]
    assert [type(one.data).__name__ for one in told].count("RunFinished") == 1


async def test_a_refused_write_tells_nothing(http: httpx.Client, kafka: str) -> None:
    async with listening(kafka) as ear:
        run_id = new_run(http)
        body: dict[str, object] = {"run_id": run_id, "key": "lr"}
        assert ask(http, "runs/log-parameter", {**body, "value": "1"}) == 200
        assert ask(http, "runs/log-parameter", {**body, "value": "2"}) == 400
        finish(http, run_id)
        told = await ear.until_finished(run_id)
    params = [one.data.params for one in told if isinstance(one.data, RunLogged)]
    assert [value for pairs in params for value in pairs.items()] == [("lr", "1")]


async def test_what_no_record_could_carry_is_told_by_several(
    http: httpx.Client, kafka: str
) -> None:
    async with listening(kafka) as ear:
        run_id = new_run(http)
        body: dict[str, object] = {
            "run_id": run_id,
            "params": [{"key": f"p{place}", "value": "\x01" * 6000} for place in range(100)],
            "tags": [{"key": f"t{place}", "value": "\x01" * 8000} for place in range(100)],
        }
        assert ask(http, "runs/log-batch", body) == 200
        finish(http, run_id)
        told = await ear.until_finished(run_id)
    logged = [one.data for one in told if isinstance(one.data, RunLogged)]
    params = sorted(key for one in logged for key in one.params)
    assert params == sorted(f"p{place}" for place in range(100))
    tags = sorted(key for one in logged for key in one.tags if key != "mlflow.runName")
    assert tags == sorted(f"t{place}" for place in range(100))


async def test_a_run_of_very_many_metrics_ends(http: httpx.Client, kafka: str) -> None:
    async with listening(kafka) as ear:
        run_id = new_run(http)
        for batch in range(20):
            metrics = [
                {"key": f"{batch:02}{place:03}{'k' * 240}", "value": 1, "timestamp": 1, "step": 0}
                for place in range(1000)
            ]
            assert ask(http, "runs/log-batch", {"run_id": run_id, "metrics": metrics}) == 200
        finish(http, run_id)
        told = await ear.until_finished(run_id)
    logged = [one.data for one in told if isinstance(one.data, RunLogged)]
    assert sum(len(one.metrics) for one in logged) == 20_000
    assert isinstance(told[-1].data, RunFinished)
    assert len(told[-1].data.metrics) > 5_000
