"""The retrain policy over real Kafka: alarms, data and promotions in any order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.client import EventProducer
from headrace.events import (
    DatasetVersionCreated,
    DriftDetected,
    Evidence,
    ModelPromoted,
    PromotionDecided,
)
from headrace.ids import new_id
from tests.harness.bus import until
from tests.harness.orchestrator import PLAN_NAME, Ear, FakeWorker, Orchestrator

FEBRUARY = datetime(2013, 2, 1, tzinfo=UTC)
DIGEST = f"sha256:{'0' * 64}"


@dataclass(kw_only=True)
class Loop:
    """The other services, as far as this model's events are concerned."""

    orchestrator: Orchestrator
    worker: FakeWorker
    producer: EventProducer
    ear: Ear
    model: str = field(default_factory=lambda: f"model-{new_id()}")

    @property
    def dataset(self) -> str:
        return f"{self.model}-labelled"

    async def policy(self, **changes: Any) -> None:
        body = {"pipeline": PLAN_NAME, "cooldown_days": 28, **changes}
        await self.orchestrator.call("PUT", f"/policies/{self.model}", body)

    async def drift(self, day: int, *, version: int = 1) -> str:
        moment = FEBRUARY + timedelta(days=day)
        evidence = Evidence(
            detector="cusum",
            statistic="temp",
            value=9.0,
            threshold=5.0,
            expected_days_between_false_alarms=365,
            baseline_days=31,
            window_start=moment - timedelta(days=3),
            window_end=moment,
            window_rows=100,
        )
        event = DriftDetected(
            model=self.model,
            version=version,
            monitor="data",
            drift_epoch=f"{self.model}-{day}",
            kind="data",
            severity="warning",
            detected_at=moment,
            evidence=evidence,
            dataset=self.dataset,
            labelled_through=moment,
        )
        return await self.producer.emit(event)

    async def waiting(self, day: int) -> None:
        """An alarm that waits for its data: only events of one topic keep their order."""
        before = len(self.ear.decisions(self.model))
        await self.drift(day)
        decided = await self.ear.until_decided(self.model, before + 1)
        assert decided[-1].outcome == "awaiting_data"

    async def data(self, version: int, day: int) -> None:
        event = DatasetVersionCreated(
            dataset=self.dataset,
            version=version,
            digest=DIGEST,
            rows=1,
            segments=1,
            origin="labelled",
            model=self.model,
            labelled_through=FEBRUARY + timedelta(days=day),
        )
        await self.producer.emit(event)

    async def promoted(self, version: int, *, cause: Any = "promotion") -> None:
        event = ModelPromoted(
            model=self.model,
            version=version,
            cause=cause,
            digest=DIGEST,
            files=[],
            promoted_at=datetime.now(UTC),
        )
        await self.producer.emit(event)

    async def champion(self, version: int) -> None:
        """A promotion that the orchestrator has heard of."""
        await self.promoted(version)

        async def known() -> bool:
            champion = await self.orchestrator.pool.fetchval(
                "select champion_version from model_state where model = $1", self.model
            )
            return bool(champion == version)

        await until(known, what="the champion to be known")

    async def epochs(self, **query: str) -> list[Any]:
        response = await self.orchestrator.http.get(
            "/api/orchestrator/v1/epochs", params={"model": self.model, **query}
        )
        return list(response.json()["epochs"])

    async def until_closed(self, outcome: str) -> Any:
        async def closed() -> bool:
            return [epoch["state"] for epoch in await self.epochs()][:1] == ["closed"]

        await until(closed, what="the epoch to close")
        (newest, *_) = await self.epochs()
        assert newest["outcome"] == outcome
        return newest

    async def finish_run(self, run_id: str, **fields: Any) -> None:
        for _ in range(2):
            assignment = await self.worker.claim(wait_seconds=5)
            assert assignment["run"]["run_id"] == run_id
            assert (await self.worker.complete(assignment, **fields)).is_success


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[EventProducer]:
    async with EventProducer(kafka=kafka, source="/test") as made:
        yield made


@pytest.fixture
def loop(orchestrator: Orchestrator, worker: FakeWorker, producer: EventProducer, ear: Ear) -> Loop:
    return Loop(orchestrator=orchestrator, worker=worker, producer=producer, ear=ear)


async def test_data_first_then_the_alarm_starts_a_run(loop: Loop) -> None:
    await loop.policy(parameters={"n": 5})
    await loop.data(3, day=10)

    async def known() -> bool:
        return bool(
            await loop.orchestrator.pool.fetchval(
                "select count(*) from dataset_state where dataset = $1 and version = 3",
                loop.dataset,
            )
        )

    await until(known, what="the dataset version to be known")
    drift_event = await loop.drift(9)
    (decided,) = await loop.ear.until_decided(loop.model)
    assert decided.outcome == "started"
    assert decided.drift_event_id == drift_event
    assignment = await loop.worker.claim(wait_seconds=5)
    run = assignment["run"]
    assert run["parameters"] == {"n": 5, "model": loop.model, "dataset_version": 3}
    assert run["trigger"]["drift_event_id"] == drift_event
    assert run["trigger"]["evidence"]["detector"] == "cusum"
    assert run["correlation_id"] == drift_event
    told = loop.ear.of_run(run["run_id"])[0]
    assert told.data.drift_epoch == f"{loop.model}-9"
    assert told.correlation_id == drift_event


async def test_an_alarm_first_waits_for_data_that_covers_it(loop: Loop) -> None:
    await loop.policy()
    await loop.drift(9)
    (waiting,) = await loop.ear.until_decided(loop.model)
    assert (waiting.outcome, waiting.pipeline_run_id) == ("awaiting_data", None)
    await loop.data(1, day=8)
    await loop.data(2, day=9)
    _, started = await loop.ear.until_decided(loop.model, 2)
    assert started.outcome == "started"
    assignment = await loop.worker.claim(wait_seconds=5)
    assert assignment["run"]["run_id"] == started.pipeline_run_id
    assert assignment["run"]["parameters"]["dataset_version"] == 2


async def test_a_promotion_closes_the_epoch_and_the_cooldown_holds_in_event_time(
    loop: Loop,
) -> None:
    await loop.policy()
    await loop.champion(1)
    await loop.waiting(0)
    await loop.data(1, day=0)
    _, started = await loop.ear.until_decided(loop.model, 2)
    await loop.drift(7)
    third = (await loop.ear.until_decided(loop.model, 3))[-1]
    assert third.outcome == "suppressed"
    assert third.reason.startswith("epoch open: ")
    assert started.pipeline_run_id is not None
    promotion = {"model": loop.model, "version": 2, "request_id": "r", "outcome": "approved"}
    await loop.finish_run(started.pipeline_run_id, promotions=[promotion])
    assert len(await loop.epochs(state="open")) == 1
    await loop.promoted(2)
    await loop.until_closed("promoted")
    await loop.drift(27, version=2)
    assert (await loop.ear.until_decided(loop.model, 4))[-1].reason.startswith("cooldown until")
    await loop.drift(28, version=2)
    assert (await loop.ear.until_decided(loop.model, 5))[-1].outcome == "awaiting_data"


async def test_a_drift_of_a_version_that_is_no_longer_champion_is_suppressed(loop: Loop) -> None:
    await loop.policy()
    await loop.promoted(1)
    await loop.champion(2)
    await loop.drift(1, version=1)
    (decided,) = await loop.ear.until_decided(loop.model)
    assert decided.reason == "version 1 is no longer champion, version 2 has taken its place"


async def test_without_a_policy_or_with_a_disabled_one_nothing_starts(loop: Loop) -> None:
    await loop.drift(1)
    assert (await loop.ear.until_decided(loop.model))[0].reason.startswith("no policy")
    await loop.policy(enabled=False)
    await loop.drift(2)
    assert (await loop.ear.until_decided(loop.model, 2))[1].reason.startswith("disabled")
    assert await loop.epochs() == []


async def test_a_failed_run_closes_the_epoch_and_the_next_alarm_may_start(loop: Loop) -> None:
    await loop.policy()
    await loop.waiting(0)
    await loop.data(1, day=3)
    _, started = await loop.ear.until_decided(loop.model, 2)
    assignment = await loop.worker.claim(wait_seconds=5)
    failed = {"outcome": "failed", "error": "no rows", "retryable": False}
    assert (await loop.worker.complete(assignment, **failed)).is_success
    epoch = await loop.until_closed("failed")
    assert "step first: no rows" in epoch["reason"]
    assert epoch["pipeline_run_id"] == started.pipeline_run_id
    await loop.drift(1)
    assert (await loop.ear.until_decided(loop.model, 3))[-1].outcome == "started"


async def test_bad_policy_parameters_close_the_epoch_as_failed(loop: Loop) -> None:
    await loop.policy(parameters={"n": "many"})
    await loop.waiting(0)
    await loop.data(1, day=0)
    epoch = await loop.until_closed("failed")
    assert "parameter n: expected int" in epoch["reason"]


@pytest.mark.parametrize("by_event", [True, False])
async def test_a_rejected_promotion_closes_the_epoch(loop: Loop, by_event: bool) -> None:
    await loop.policy()
    await loop.waiting(0)
    await loop.data(1, day=0)
    _, started = await loop.ear.until_decided(loop.model, 2)
    outcome = "waiting" if by_event else "rejected"
    promotion = {"model": loop.model, "version": 2, "request_id": "r-1", "outcome": outcome}
    assert started.pipeline_run_id is not None
    await loop.finish_run(started.pipeline_run_id, promotions=[promotion])
    if by_event:
        assert len(await loop.epochs(state="open")) == 1
        decided = PromotionDecided(
            request_id="r-1",
            model=loop.model,
            version=2,
            outcome="rejected",
            automatic=False,
            reason="worse",
        )
        await loop.producer.emit(decided)
    await loop.until_closed("rejected")


async def test_a_run_that_asks_for_no_promotion_closes_the_epoch(loop: Loop) -> None:
    await loop.policy()
    await loop.waiting(0)
    await loop.data(1, day=0)
    _, started = await loop.ear.until_decided(loop.model, 2)
    assert started.pipeline_run_id is not None
    await loop.finish_run(started.pipeline_run_id)
    await loop.until_closed("no_promotion")


async def test_two_models_do_not_touch_each_other(loop: Loop) -> None:
    other = Loop(
        orchestrator=loop.orchestrator, worker=loop.worker, producer=loop.producer, ear=loop.ear
    )
    for one in (loop, other):
        await one.policy()
        await one.waiting(0)
    await loop.data(1, day=0)
    await loop.ear.until_decided(loop.model, 2)
    await other.ear.until_decided(other.model, 1)
    assert [epoch["phase"] for epoch in await loop.epochs()] == ["running"]
    assert [epoch["phase"] for epoch in await other.epochs()] == ["awaiting_data"]
    await loop.promoted(2)
    await loop.until_closed("promoted")
    assert [epoch["phase"] for epoch in await other.epochs(state="open")] == ["awaiting_data"]


async def test_policies_are_read_back_and_bad_ones_refused(loop: Loop) -> None:
    await loop.policy(cooldown_days=14.5)
    found = await loop.orchestrator.call("GET", f"/policies/{loop.model}")
    assert found["cooldown_days"] == 14.5
    listed = (await loop.orchestrator.call("GET", "/policies"))["policies"]
    assert loop.model in [entry["model"] for entry in listed]
    bad = {"pipeline": PLAN_NAME, "cooldown_days": -1}
    answer = await loop.orchestrator.answer("PUT", f"/policies/{loop.model}", bad)
    assert (answer.status_code, answer.json()["field"]) == (400, "cooldown_days")
    assert (await loop.orchestrator.answer("GET", "/policies/none")).status_code == 404
