"""What the orchestrator costs: from an alarm to user code, from step to step, after a kill."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.testing import TestBucket, TestDatabase
from headrace.client import EventProducer
from headrace.events import DatasetVersionCreated, DriftDetected, Evidence
from headrace.ids import new_id
from tests.harness.bus import skip_history, until
from tests.harness.orchestrator import (
    PLAN_NAME,
    FakeWorker,
    Orchestrator,
    Workers,
    running,
)

MOMENT = datetime(2013, 2, 1, tzinfo=UTC)
TURNS = 20
CHAINS = 100


@pytest.fixture
async def orchestrator(
    database: TestDatabase, bucket: TestBucket, kafka: str
) -> AsyncIterator[Orchestrator]:
    """With the lease of production."""
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    async with running(database, bucket) as started:
        yield started


@pytest.fixture
def workers(orchestrator: Orchestrator, bucket: TestBucket, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(url=orchestrator.url, bucket=bucket, directory=tmp_path)
    yield made
    made.end()


async def test_claims_and_chains(orchestrator: Orchestrator) -> None:
    worker = FakeWorker(orchestrator=orchestrator)
    await worker.hello()
    claims, chains = [], []
    for _ in range(CHAINS):
        waiting = asyncio.create_task(worker.claim(wait_seconds=10))
        await asyncio.sleep(0.02)  # the claim waits before there is anything
        begun = time.perf_counter()
        await orchestrator.start(PLAN_NAME)
        first = await waiting
        claims.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await worker.complete(first)
        second = await worker.claim(wait_seconds=10)
        chains.append(time.perf_counter() - begun)
        await worker.complete(second)
    show("POST /runs -> waiting claim answered", claims)
    show("complete step 1 -> step 2 claimed", chains)


async def test_from_an_alarm_to_user_code(
    orchestrator: Orchestrator, workers: Workers, kafka: str
) -> None:
    await workers.ready()
    models = [f"model-{new_id()}" for _ in range(TURNS)]
    async with EventProducer(kafka=kafka, source="/bench") as producer:
        for model in models:
            body = {"pipeline": "stamping", "cooldown_days": 0}
            await orchestrator.call("PUT", f"/policies/{model}", body)
        await producer.emit_many([dataset_of(model) for model in models])
        await until(lambda: known(orchestrator, len(models)), what="datasets to be known")
        latencies = []
        for model in models:
            begun = time.time()
            await producer.emit(drift_of(model))
            latencies.append(await user_code_at(orchestrator, model) - begun)
    show("DriftDetected sent -> first step's user code", latencies)


async def test_after_a_kill(orchestrator: Orchestrator, workers: Workers) -> None:
    first = await workers.ready(instance=0)
    run_id = await orchestrator.start("waiting", path=str(workers.readable / "gate"))
    await orchestrator.until_step(run_id, "wait_for", "running")
    await workers.ready(instance=1)
    begun = time.perf_counter()
    await asyncio.to_thread(first.kill)

    async def elsewhere() -> bool:
        return len((await orchestrator.run(run_id))["attempts"]) == 2

    await until(elsewhere, seconds=30, what="the step to run elsewhere")
    show("kill -9 of a worker -> step claimed elsewhere", [time.perf_counter() - begun])


async def user_code_at(orchestrator: Orchestrator, model: str) -> float:
    async def finished() -> bool:
        found = await orchestrator.call("GET", f"/runs?model={model}&state=succeeded")
        return bool(found["runs"])

    await until(finished, what=f"the run of {model}")
    (run,) = (await orchestrator.call("GET", f"/runs?model={model}"))["runs"]
    steps = (await orchestrator.run(run["pipeline_run_id"]))["steps"]
    return float(steps[0]["outputs"]["result"]["value"])


async def known(orchestrator: Orchestrator, count: int) -> bool:
    found = await orchestrator.pool.fetchval("select count(*) from dataset_state where version > 0")
    return bool(found == count)


def dataset_of(model: str) -> DatasetVersionCreated:
    return DatasetVersionCreated(
        dataset=f"{model}-labelled",
        version=1,
        digest=f"sha256:{'0' * 64}",
        rows=1,
        segments=1,
        origin="labelled",
        model=model,
        labelled_through=MOMENT,
    )


def drift_of(model: str) -> DriftDetected:
    evidence = Evidence(
        detector="cusum",
        statistic="temp",
        value=9.0,
        threshold=5.0,
        expected_days_between_false_alarms=365,
        baseline_days=31,
        window_start=MOMENT,
        window_end=MOMENT,
        window_rows=100,
    )
    return DriftDetected(
        model=model,
        version=1,
        monitor="data",
        drift_epoch=f"{model}-1",
        kind="data",
        severity="warning",
        detected_at=MOMENT,
        evidence=evidence,
        dataset=f"{model}-labelled",
        labelled_through=MOMENT,
    )


def show(what: str, seconds: Sequence[float]) -> None:
    milliseconds = sorted(1000 * value for value in seconds)
    worst = milliseconds[min(len(milliseconds) - 1, int(len(milliseconds) * 0.99))]
    median = statistics.median(milliseconds)
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"{what}: p50 {median:.1f} ms, p99 {worst:.1f} ms (n={len(milliseconds)}, load {load})")
