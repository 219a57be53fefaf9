"""Runs that producers report over Kafka: the same runs, the same rules."""

from __future__ import annotations

import asyncio
import math
from uuid import uuid4

import httpx
from mlflow import MlflowClient

from headrace.client import EventProducer
from headrace.events import MetricColumn, RunFinished, RunLogged, RunReported
from headrace.events.topics import TRACKING_INTAKE
from tests.component.tracking.listening import listening
from tests.harness.bus import dead_letters, until

API = "/api/2.0/mlflow"
GROUP = "tracking.intake"


def report(run_id: str, experiment: str, **fields: object) -> RunReported:
    return RunReported.model_validate({"run_id": run_id, "experiment": experiment, **fields})


def column(key: str, *values: float) -> MetricColumn:
    steps = list(range(len(values)))
    return MetricColumn(key=key, values=list(values), steps=steps, timestamps=steps)


async def test_a_reported_run_is_a_run_like_any_other(client: MlflowClient, kafka: str) -> None:
    run_id, experiment = uuid4().hex, f"reported {uuid4()}"
    async with listening(kafka) as ear, EventProducer(kafka=kafka, source="/test") as producer:
        await producer.emit_many(
            [
                report(
                    run_id,
                    experiment,
                    run_name="from afar",
                    start_time=1000,
                    params={"lr": "0.1"},
                    tags={"t": "x"},
                    metrics=[column("loss", 3.0, math.nan, 1.0)],
                ),
                report(run_id, experiment, status="FINISHED", end_time=2000),
            ],
            correlation_id="turn-1",
        )
        told = await ear.until_finished(run_id)
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("from afar", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1000, 2000)
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags == {"t": "x", "mlflow.runName": "from afar"}
    assert run.data.metrics == {"loss": 1.0}
    assert [one.step for one in client.get_metric_history(run_id, "loss")] == [0, 1, 2]
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    assert run.info.artifact_uri == f"{found.artifact_location}/{run_id}/artifacts"
    assert isinstance(told[-1].data, RunFinished)
    assert {one.envelope.correlation_id for one in told} == {"turn-1"}


async def test_a_report_that_comes_again_changes_nothing(client: MlflowClient, kafka: str) -> None:
    run_id, experiment = uuid4().hex, f"again {uuid4()}"
    first = report(
        run_id,
        experiment,
        run_name="again",
        params={"a": "1"},
        tags={"t": "x"},
        metrics=[column("loss", 2.0, 1.0)],
    )
    async with listening(kafka) as ear, EventProducer(kafka=kafka, source="/test") as producer:
        await producer.emit_many([first, first, first])
        await producer.emit(report(run_id, experiment, status="FINISHED", end_time=5))
        told = await ear.until_finished(run_id)
    logged = [one.data for one in told if isinstance(one.data, RunLogged)]
    assert [metric.count for one in logged for metric in one.metrics] == [2]
    assert [key for one in logged for key in one.params] == ["a"]
    assert len(client.get_metric_history(run_id, "loss")) == 2


async def test_what_breaks_a_rule_is_dead_lettered_and_the_rest_goes_on(
    client: MlflowClient, kafka: str
) -> None:
    run_id, experiment = uuid4().hex, f"rules {uuid4()}"
    wrong = {
        "lr": report(run_id, experiment, params={"lr": "9", "other": "1"}),
        "columns differ in length": report(
            run_id,
            experiment,
            metrics=[MetricColumn(key="m", values=[1.0, 2.0], timestamps=[1])],
        ),
        "Names may": report(run_id, experiment, tags={"../up": "x"}),
        "belongs to experiment": report(run_id, f"another {uuid4()}", params={"new": "1"}),
        "run_id": report("-not-allowed", experiment),
    }
    async with (
        dead_letters(kafka, group=GROUP, topic=TRACKING_INTAKE.name) as letters,
        listening(kafka) as ear,
        EventProducer(kafka=kafka, source="/test") as producer,
    ):
        await producer.emit(report(run_id, experiment, params={"lr": "0.1"}))
        await producer.emit_many(list(wrong.values()))
        await producer.emit(report(run_id, experiment, status="KILLED"))
        await ear.until_finished(run_id)
        reasons: list[str] = []
        async with asyncio.timeout(20):
            while len(reasons) < len(wrong):
                record = await letters.getone()
                reasons.append(str(dict(record.headers)))
    for expected in wrong:
        assert any(expected in reason for reason in reasons), (expected, reasons)
    run = client.get_run(run_id)
    assert run.data.params == {"lr": "0.1"}
    assert run.info.status == "KILLED"


async def test_both_ways_in_lead_to_one_run(
    http: httpx.Client, client: MlflowClient, kafka: str
) -> None:
    run_id, experiment = uuid4().hex, f"both {uuid4()}"
    async with EventProducer(kafka=kafka, source="/test") as producer:
        await producer.emit(report(run_id, experiment, metrics=[column("loss", 2.0, 1.0)]))
        query = {"run_id": run_id}
        await until(
            lambda: http.get(f"{API}/runs/get", params=query).status_code == 200,
            what="the reported run",
        )
    client.log_metric(run_id, "loss", 0.5, timestamp=2, step=2)
    client.log_metric(run_id, "loss", 1.0, timestamp=1, step=1)
    assert [one.value for one in client.get_metric_history(run_id, "loss")] == [2.0, 1.0, 0.5]
