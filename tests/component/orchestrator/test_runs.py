"""Starting runs over REST and over Kafka."""

from __future__ import annotations

import asyncio

import pytest

from headrace.client import EventProducer
from headrace.events import PipelineRunRequested
from headrace.ids import new_id
from services.orchestrator.store.runs import CANDIDATE
from services.orchestrator.store.tasks import OVERDUE
from tests.harness.bus import until
from tests.harness.orchestrator import (
    PLAN,
    PLAN_NAME,
    Ear,
    FakeWorker,
    Orchestrator,
)


async def test_the_same_run_id_twice_is_one_run(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    await worker.hello()
    body = {"pipeline": PLAN_NAME, "requested_by": "test", "pipeline_run_id": new_id()}
    answers = await asyncio.gather(*(orchestrator.call("POST", "/runs", body) for _ in range(5)))
    assert sorted(answer["created"] for answer in answers) == [False] * 4 + [True]
    assert (await worker.claim(wait_seconds=5))["run"]["run_id"] == body["pipeline_run_id"]
    assert await worker.claim() is None


async def test_a_run_id_of_another_pipeline_is_a_conflict(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    other = {**worker.plans[0], "name": "other"}
    worker.plans = [*worker.plans, other]
    await worker.hello()
    run_id = await orchestrator.start(PLAN_NAME)
    body = {"pipeline": "other", "requested_by": "test", "pipeline_run_id": run_id}
    assert (await orchestrator.answer("POST", "/runs", body)).status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"pipeline": "unknown"}, 404, "no worker has registered a pipeline 'unknown'"),
        ({"parameters": {"n": "x"}}, 400, "parameter n: expected int, got str 'x'"),
        ({"parameters": {"m": 1}}, 400, "has no parameter 'm'; it has: n, model"),
        ({"pipeline": ""}, 400, "pipeline"),
        ({"extra": 1}, 400, "extra"),
    ],
)
async def test_bad_input_is_named(
    orchestrator: Orchestrator,
    worker: FakeWorker,
    body: dict[str, object],
    status: int,
    message: str,
) -> None:
    full = {"pipeline": PLAN_NAME, "requested_by": "test", **body}
    response = await orchestrator.answer("POST", "/runs", full)
    assert response.status_code == status
    assert message in response.json()["message"]
    assert await worker.claim() is None


async def test_an_unknown_run_is_not_found(orchestrator: Orchestrator) -> None:
    assert (await orchestrator.answer("GET", "/runs/none")).status_code == 404


async def test_a_run_is_started_from_kafka_under_the_command_s_correlation(
    worker: FakeWorker, kafka: str, ear: Ear
) -> None:
    run_id = new_id()
    command = PipelineRunRequested(
        pipeline_run_id=run_id, pipeline=PLAN_NAME, parameters={"n": 3}, requested_by="bus"
    )
    async with EventProducer(kafka=kafka, source="/test") as producer:
        event_id = await producer.emit(command, correlation_id="turn-2")
        await producer.emit(command, correlation_id="turn-3")
    await until(lambda: bool(ear.of_run(run_id)), what="the run to be told of")
    (pending,) = ear.of_run(run_id)
    assert pending.correlation_id == "turn-2"
    assert pending.envelope.causation_id == event_id
    assert (await worker.claim(wait_seconds=5))["run"]["parameters"]["n"] == 3


async def test_a_command_with_bad_parameters_makes_a_failed_run(
    worker: FakeWorker, kafka: str, ear: Ear
) -> None:
    run_id = new_id()
    command = PipelineRunRequested(
        pipeline_run_id=run_id, pipeline=PLAN_NAME, parameters={"n": "x"}, requested_by="bus"
    )
    await worker.hello()
    async with EventProducer(kafka=kafka, source="/test") as producer:
        await producer.emit(command)
    (failed,) = await ear.until_ended(run_id)
    assert failed.data.state == "failed"
    assert "parameter n: expected int" in failed.data.error


async def test_a_run_waits_for_its_pipeline_to_be_registered(
    orchestrator: Orchestrator, kafka: str, ear: Ear
) -> None:
    run_id, name = new_id(), f"late-{new_id()}"
    command = PipelineRunRequested(pipeline_run_id=run_id, pipeline=name, requested_by="bus")
    async with EventProducer(kafka=kafka, source="/test") as producer:
        await producer.emit(command)
    await until(lambda: bool(ear.of_run(run_id)), what="the run to be told of")
    late = FakeWorker(orchestrator=orchestrator, plans=[{**PLAN.to_json(), "name": name}])
    await late.hello()
    claimed = await late.claim(wait_seconds=5, pipeline=name)
    assert claimed["run"]["run_id"] == run_id


async def test_a_waiting_claim_gets_a_new_run_at_once(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    waiting = asyncio.create_task(worker.claim(wait_seconds=20))
    await until(lambda: _is_waiting(orchestrator), what="the claim to wait")
    run_id = await orchestrator.start(PLAN_NAME)
    assignment = await asyncio.wait_for(waiting, 5)
    assert assignment["run"]["run_id"] == run_id


async def test_hot_queries_use_their_indexes(orchestrator: Orchestrator) -> None:
    async with orchestrator.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        for query, arguments, index in (
            (CANDIDATE, ("default", [PLAN_NAME]), "task_ready"),
            (OVERDUE, ("default",), "task_running"),
        ):
            rows = await connection.fetch(f"explain {query}", *arguments)
            plan = "\n".join(row[0] for row in rows)
            assert index in plan, plan


async def _is_waiting(orchestrator: Orchestrator) -> bool:
    found = await orchestrator.call("GET", "/workers")
    return any(entry["alive"] for entry in found["workers"])
