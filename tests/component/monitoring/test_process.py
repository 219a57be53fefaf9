"""The whole process on Kafka, PostgreSQL and S3: intake to alarm, garbage, and sudden death."""

from __future__ import annotations

from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.local.testing import TestBucket, TestDatabase
from headrace.client import EventProducer
from headrace.events import DriftDetected, LabelledDataWritten, LabelObserved, MonitoredDayClosed
from headrace.events.topics import MONITORING_LABELS, SERVING_LOG
from services.monitoring.domain import MonitorConfig
from tests.harness.bus import dead_letters, until
from tests.harness.monitoring import at, batch, deployment, desk, drifting_day, label, profile
from tests.harness.monitoring_process import heard, monitoring_process


async def test_from_deployment_to_drift_over_kafka(
    database: TestDatabase, bucket: TestBucket, kafka: str
) -> None:
    model = f"m-{uuid4().hex[:8]}"
    async with (
        monitoring_process(database=database, bucket=bucket, kafka=kafka) as process,
        desk(database, bucket) as files,
        heard(kafka, model) as events,
        EventProducer(kafka=kafka, source="/test") as producer,
    ):
        await producer.emit(await deployment(files, model, 1, profile()))
        for day in range(8):
            logged, labels = drifting_day(model, day, temp=4.0)
            await producer.emit_many([logged])
            await producer.emit_many(labels)
        await until(
            lambda: any(isinstance(event.data, DriftDetected) for event in events),
            seconds=60,
            what="the drift",
        )
        drift = next(event for event in events if isinstance(event.data, DriftDetected))
        written = [event.data for event in events if isinstance(event.data, LabelledDataWritten)]
        state = await process.model(model)
        days = (await process.http.get(f"/api/monitoring/v1/models/{model}/days")).json()["days"]
        lines = (await process.http.get("/api/monitoring/v1/models")).json()
        segments = (await process.http.get(f"/api/monitoring/v1/models/{model}/segments")).json()

    assert drift.correlation_id == drift.id
    assert drift.data.labelled_through in [segment.labelled_through for segment in written]
    assert state is not None
    assert state["version"] == 1
    assert state["watermarks"]["last_closed_day"] >= "2013-02-02"
    assert state["open_alerts"][0]["kind"] == "data_drift"
    assert state["open_alerts"][0]["evidence"]["statistic"] == "temp.mean"
    assert state["monitors"][0]["pressure"]["data"] > 1
    assert days[0]["day"] == "2013-02-01"
    assert (days[0]["predictions"], days[0]["labelled"]) == (200, 200)
    assert [line["model"] for line in lines] == [model]
    assert [segment["rows"] for segment in segments] == [200] * len(segments)


async def test_garbage_in_the_middle_of_a_batch_is_dead_lettered_and_the_rest_is_joined(
    database: TestDatabase, bucket: TestBucket, kafka: str
) -> None:
    model = f"m-{uuid4().hex[:8]}"
    bad = batch(model, [("bad/0", at(1))])
    bad.inputs[0].shape[0] = 7
    nan = label(model, "p/0", at(2), float("inf"))
    async with (
        monitoring_process(database=database, bucket=bucket, kafka=kafka) as process,
        dead_letters(kafka, group="monitoring.telemetry", topic=SERVING_LOG.name) as bad_batches,
        dead_letters(
            kafka, group="monitoring.telemetry", topic=MONITORING_LABELS.name
        ) as bad_labels,
        EventProducer(kafka=kafka, source="/test") as producer,
    ):
        await producer.emit_many(
            [batch(model, [("p/0", at(1))]), bad, batch(model, [("p/1", at(1))])]
        )
        await _send_raw(kafka, MONITORING_LABELS.name, model, b"\xff not a label")
        await producer.emit_many([label(model, "p/0", at(2)), nan, label(model, "p/1", at(2))])

        async def joined() -> bool:
            state = await process.model(model)
            return state is not None and state["counts"]["labels_joined"] == 2

        await until(joined, seconds=60, what="both labels to be joined")
        reasons = [
            *await _reasons(bad_batches, 1),
            *await _reasons(bad_labels, 2),
        ]
        metrics = (await process.http.get("/metrics")).text

    assert "InvalidInput: inputs.carrier: expected a shape that begins with 1 rows" in reasons[0]
    assert 'batch_retries_total{group="monitoring.telemetry"}' not in metrics
    assert any("ce_specversion" in reason for reason in reasons[1:])
    assert any("label: expected a finite number" in reason for reason in reasons[1:])


async def test_kill_minus_nine_changes_no_segment_no_statistic_and_no_alert(
    database: TestDatabase, bucket: TestBucket, kafka: str
) -> None:
    """The same streams, once undisturbed and once through a process that dies again and again."""
    model, days = f"m-{uuid4().hex[:8]}", 8
    async with (
        desk(database, bucket, config=MonitorConfig()) as undisturbed,
        monitoring_process(database=database, bucket=bucket, kafka=kafka) as process,
        heard(kafka, model) as events,
        EventProducer(kafka=kafka, source="/test") as producer,
    ):
        await undisturbed.deployed(await deployment(undisturbed, "calm", 1, profile()))
        await producer.emit(await deployment(undisturbed, model, 1, profile()))
        await process.wait_for_deployment(model)
        total = 0
        for day in range(days):
            logged, labels = drifting_day("calm", day, temp=4.0)
            await undisturbed.predictions(logged)
            await undisturbed.labels(*labels)
            await producer.emit_many([drifting_day(model, day, temp=4.0)[0]])
            await producer.emit_many(_of(model, labels))
            total += len(labels)
            if day in {2, 5}:
                process.kill()
                process.start()
        for part in (1, 2):
            goal = total * part // 3
            await process.wait_for_labels(model, goal)
            process.kill()
            process.start()
        await process.wait_for_labels(model, total)
        expected = await undisturbed.closed("calm")
        await until(
            lambda: (
                sum(isinstance(event.data, MonitoredDayClosed) for event in events) == len(expected)
            ),
            seconds=60,
            what="all closed days to be published",
        )

        assert await undisturbed.segments(model) == await undisturbed.segments("calm")
        assert await undisturbed.closed(model) == expected
        state, calm = await undisturbed.model(model), await undisturbed.model("calm")
        compared = [name for name in dict(calm) if name not in NOT_COMPARED]
        assert {name: state[name] for name in compared} == {name: calm[name] for name in compared}
        alerts = await undisturbed.pool.fetch(
            "select kind, detected_at_us, evidence, count(*) as models from alert"
            " group by kind, detected_at_us, evidence"
        )

    assert [alert["models"] for alert in alerts] == [2] * len(alerts)
    told = [type(event.data) for event in events]
    assert told.count(LabelledDataWritten) == len(expected)
    assert told.count(DriftDetected) >= 1


NOT_COMPARED = {"model_id", "model", "predictions_arrived_at", "labels_arrived_at"}


def _of(model: str, labels: list[LabelObserved]) -> list[LabelObserved]:
    return [one.model_copy(update={"model": model}) for one in labels]


async def _send_raw(kafka: str, topic: str, key: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(topic, value, key=key.encode(), headers=[("x", b"y")])
    await producer.stop()


async def _reasons(letters: AIOKafkaConsumer, count: int) -> list[str]:
    reasons: list[str] = []
    while len(reasons) < count:
        record = await letters.getone()
        headers = {name: value.decode() for name, value in record.headers}
        reasons.append(f"{headers['dlt_error_type']}: {headers['dlt_error_message']}")
    return reasons
