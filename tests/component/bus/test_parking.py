"""A record that keeps failing holds up its key and nothing else, until it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from deploy.local.testing import TestDatabase
from headrace.events import DatasetVersionCreated, LabelObserved
from headrace.events.topics import MONITORING_LABELS, REGISTRY_DATASETS
from headrace.runtime.bus import Event, Subscription, Tx
from headrace.runtime.bus.model import Patience
from headrace.runtime.bus.postgres import Postgres
from headrace.runtime.bus.recovery import Recovery
from tests.component.bus.test_effects import GROUP, version
from tests.harness.bus import Member, dead_letters, member, until

HASTY = Patience(attempts=2, longest_pause=0.01, parked_attempts=4, longest_parked_pause=0.5)


@dataclass(kw_only=True)
class Ward:
    """Handles dataset versions; what `sick` says fails."""

    sick: Callable[[DatasetVersionCreated], bool]
    got: list[tuple[str, int]] = field(default_factory=list)

    async def on_version(self, event: Event[DatasetVersionCreated], tx: Tx) -> None:
        data = event.data
        await tx.connection.execute(
            "insert into effect values ($1, $2)", data.dataset, data.version
        )
        if self.sick(data):
            raise RuntimeError("not now")
        self.got.append((data.dataset, data.version))

    def of(self, dataset: str) -> list[int]:
        return [number for name, number in self.got if name == dataset]


@asynccontextmanager
async def pair(
    ward: Ward, database: TestDatabase, kafka: str
) -> AsyncIterator[tuple[Member, Member]]:
    """A service that tells of datasets and one that handles them."""
    subscription = Subscription(
        group=GROUP, handlers={DatasetVersionCreated: ward.on_version}, patience=HASTY
    )
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ) as orchestrator,
    ):
        await orchestrator.pool.execute("create table if not exists effect (name text, number int)")
        yield registry, orchestrator


async def tell(registry: Member, *versions: tuple[str, int]) -> None:
    async with registry.bus.transaction() as tx:
        for name, number in versions:
            tx.emit(version(name, number))


def recovery(database: TestDatabase, kafka: str, orchestrator: Member) -> Recovery:
    url = database.url("orchestrator")
    store = Postgres(pool=orchestrator.pool, url=url, service="orchestrator")
    return Recovery(
        service="orchestrator",
        kafka=kafka,
        pool=orchestrator.pool,
        database=store,
        metrics=orchestrator.metrics,
    )


async def test_a_failing_key_waits_in_order_while_the_others_flow(
    database: TestDatabase, kafka: str
) -> None:
    ward = Ward(sick=lambda data: data.dataset == "sick" and data.version == 1)
    async with pair(ward, database, kafka) as (registry, orchestrator):
        mixed = [(name, number) for number in (1, 2, 3) for name in ("sick", "well")]
        await tell(registry, *mixed)
        await until(lambda: ward.of("well") == [1, 2, 3], what="the other key")
        assert ward.of("sick") == []

        await tell(registry, ("sick", 4))
        gauge = orchestrator.metrics.parked_records.labels(GROUP)
        await until(lambda: gauge._value.get() == 4, what="four parked records")
        ward.sick = lambda _: False
        await until(lambda: ward.of("sick") == [1, 2, 3, 4], what="the key's records in order")
        await until(lambda: gauge._value.get() == 0, what="nothing parked")
        rows = await orchestrator.pool.fetch("select number from effect where name='sick'")
        parked = await orchestrator.pool.fetchval("select sum(parked) from consumer_offset")

    assert [row["number"] for row in rows] == [1, 2, 3, 4]
    assert parked == 0


async def test_a_record_that_never_succeeds_is_dead_lettered_and_frees_its_key(
    database: TestDatabase, kafka: str
) -> None:
    ward = Ward(sick=lambda data: data.version == 1)
    async with (
        dead_letters(kafka, group=GROUP, topic=REGISTRY_DATASETS.name) as buried,
        pair(ward, database, kafka) as (registry, _),
    ):
        await tell(registry, ("hopeless", 1), ("hopeless", 2), ("hopeless", 3))
        await until(lambda: ward.of("hopeless") == [2, 3], what="the records behind it")
        letter = await buried.getone()

    reasons = dict(letter.headers)
    assert reasons["dlt_error_type"] == b"RuntimeError"
    assert reasons["dlt_attempts"] == b"4"
    first_failed_at = datetime.fromisoformat(reasons["dlt_first_failed_at"].decode())
    assert first_failed_at.timestamp() * 1000 < letter.timestamp - 1000


async def test_a_partition_in_trouble_does_not_hold_up_the_others(
    database: TestDatabase, kafka: str
) -> None:
    ward = Ward(sick=lambda data: data.dataset == "stuck")
    patient = Patience(attempts=1000, longest_pause=0.2)
    subscription = Subscription(
        group=GROUP, handlers={DatasetVersionCreated: ward.on_version}, patience=patient
    )
    names = [f"free-{number}" for number in range(12)]
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ) as orchestrator,
    ):
        await orchestrator.pool.execute("create table effect (name text, number int)")
        await tell(registry, ("stuck", 1))
        paused = orchestrator.metrics.retries.labels(GROUP)
        await until(lambda: paused._value.get() > 0, what="a first failure")
        await tell(registry, *((name, 1) for name in names))
        await until(lambda: len({name for name, _ in ward.got}) >= 4, what="other partitions")
        ward.sick = lambda _: False
        await until(lambda: len(ward.got) == len(names) + 1, what="everything")


async def test_a_person_skips_a_parked_record_and_redrives_it_later(
    database: TestDatabase, kafka: str
) -> None:
    ward = Ward(sick=lambda data: data.version == 1)
    patient = Patience(attempts=1, parked_attempts=1000, longest_parked_pause=1000)
    subscription = Subscription(
        group=GROUP, handlers={DatasetVersionCreated: ward.on_version}, patience=patient
    )
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ) as orchestrator,
    ):
        await orchestrator.pool.execute("create table effect (name text, number int)")
        desk = recovery(database, kafka, orchestrator)
        await tell(registry, ("skipped", 1), ("skipped", 2))

        async def both_parked() -> bool:
            return [key.records for key in await desk.parked()] == [2]

        await until(both_parked, what="a parked key")
        (key,) = await desk.parked()
        where = {"group": GROUP, "topic": key.topic}
        await desk.skip(**where, partition=key.partition, offset=key.offset, by="ada")
        orchestrator.bus.wake()
        given_up = orchestrator.metrics.dead_letters.labels(GROUP, key.topic)
        assert given_up._value.get() == 1
        await until(lambda: ward.of("skipped") == [2], what="the record behind it")
        await asyncio.sleep(0)

        async def buried() -> bool:
            letters = await desk.dead_letters(group=GROUP, topic=key.topic)
            return any(letter.record.key == b"skipped" for letter in letters)

        await until(buried, what="the dead letter")
        ward.sick = lambda _: False
        (letter,) = [
            letter
            for letter in await desk.dead_letters(group=GROUP, topic=key.topic)
            if letter.record.key == b"skipped"
        ]
        assert letter.header("dlt_error_type") == "SkippedByOperator"
        assert "ada" in letter.header("dlt_error_message")
        first = await desk.redrive(**where, offset=letter.offset, by="ada")
        again = await desk.redrive(**where, offset=letter.offset, by="ada")
        assert (first.redriven, again.redriven) == (1, 0)
        await until(lambda: ward.of("skipped") == [2, 1], what="the redriven record")


async def test_telemetry_that_keeps_failing_is_dead_lettered_and_its_neighbours_are_kept(
    database: TestDatabase, kafka: str
) -> None:
    got: list[str] = []

    async def on_label(event: Event[LabelObserved], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        if event.data.prediction_id == "bad":
            raise RuntimeError("a bug")
        got.append(event.data.prediction_id)

    group = "monitoring.telemetry"
    subscription = Subscription(group=group, handlers={LabelObserved: on_label}, patience=HASTY)
    async with (
        dead_letters(kafka, group=group, topic=MONITORING_LABELS.name) as buried,
        member(
            database=database, kafka=kafka, service="monitoring", subscriptions=[subscription]
        ) as monitoring,
        member(database=database, kafka=kafka, service="registry") as anyone,
    ):
        async with anyone.bus.transaction() as tx:
            for name in ("first", "bad", "last"):
                tx.emit(label(name))
        await until(lambda: "last" in got, what="the labels around it")
        letter = await buried.getone()
        assert await monitoring.pool.fetchval("select count(*) from parked") == 0

    assert b'"bad"' in letter.value
    assert got[-2:] == ["first", "last"]


def label(prediction_id: str) -> LabelObserved:
    return LabelObserved(
        model="m", prediction_id=prediction_id, label=1, observed_at="2026-01-01T00:00:00Z"
    )
