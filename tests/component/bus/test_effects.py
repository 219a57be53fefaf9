"""Effects happen exactly once, whatever happens to the process, the relay or the records."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.testing import TestDatabase
from headrace.errors import InvalidInput, Permanent, Transient
from headrace.events import (
    DatasetVersionCreated,
    Envelope,
    ModelVersionCreated,
    contract_of,
    encode_headers,
)
from headrace.events.topics import REGISTRY_DATASETS
from headrace.runtime import db
from headrace.runtime.bus import Caller, Event, Subscription, Tx
from headrace.runtime.bus.consumer import Consumer
from tests.harness.bus import dead_letters, member, publish_again, skip_history, until

DIGEST = "sha256:" + "0" * 64
GROUP = "orchestrator.events"


def version(dataset: str, number: int) -> DatasetVersionCreated:
    return DatasetVersionCreated(
        dataset=dataset, version=number, digest=DIGEST, rows=1, segments=1, origin="upload"
    )


def headers(data: DatasetVersionCreated, identity: str) -> list[tuple[str, bytes]]:
    contract = contract_of(data)
    return encode_headers(
        Envelope(id=identity, source="/foreign", type=contract.type, time=datetime.now(UTC))
    )


async def send(kafka: str, key: str, value: bytes, fields: list[tuple[str, bytes]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(REGISTRY_DATASETS.name, value, key=key.encode(), headers=fields)
    await producer.stop()


async def test_an_event_reaches_another_service_with_its_cause(
    database: TestDatabase, kafka: str
) -> None:
    got: list[Event[DatasetVersionCreated]] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        assert tx.caller is not None
        got.append(event)

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ),
    ):
        caller = Caller(correlation_id="turn-1", causation_id="alert-1")
        async with registry.bus.transaction(caller) as tx:
            event_id = tx.emit(version("causes", 1))
        await until(lambda: len(got) == 1, what="the event")

    (event,) = got
    assert (event.id, event.correlation_id) == (event_id, "turn-1")
    assert event.envelope.causation_id == "alert-1"
    assert event.envelope.sequence == f"{1:020d}"
    assert event.envelope.traceparent is not None
    assert event.data.dataset == "causes"


async def test_what_is_rolled_back_is_never_published(database: TestDatabase, kafka: str) -> None:
    async with member(database=database, kafka=kafka, service="registry") as registry:

        async def emit_and_fail() -> None:
            async with registry.bus.transaction() as tx:
                tx.emit(version("undone", 1))
                raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            await emit_and_fail()

        assert await registry.pool.fetchval("select count(*) from outbox") == 0
        assert await registry.pool.fetchval("select last_number from outbox_source") == 0


async def test_a_relay_that_publishes_twice_changes_nothing(
    database: TestDatabase, kafka: str
) -> None:
    got: list[int] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        got.append(event.data.version)

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    async with member(database=database, kafka=kafka, service="registry", relay=False) as registry:
        async with registry.bus.transaction() as tx:
            for number in range(1, 6):
                tx.emit(version("twice", number))
        url = database.url("registry")
        await publish_again(pool=registry.pool, url=url, kafka=kafka, times=2)
        async with registry.bus.transaction() as tx:
            tx.emit(version("twice", 6))
        await publish_again(pool=registry.pool, url=url, kafka=kafka, times=1)
    async with member(
        database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
    ) as orchestrator:
        await until(lambda: 6 in got, what="the last event")
        duplicates = orchestrator.metrics.duplicates.labels(GROUP, REGISTRY_DATASETS.name)
        # They are counted once the batch has committed.
        await until(lambda: duplicates._value.get() == 5, what="five duplicates")

    assert got == [1, 2, 3, 4, 5, 6]


async def test_undecodable_records_in_a_batch_are_dead_lettered_and_lose_nothing(
    database: TestDatabase, kafka: str
) -> None:
    got: list[int] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        got.append(event.data.version)

    good = version("garbage", 1)
    body = contract_of(good).encode(good)
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    await send(kafka, "garbage", body, headers(good, "g1"))
    await send(kafka, "garbage", body, [("ce_id", b"\xff\xfe"), ("ce_specversion", b"1.0")])
    await send(kafka, "garbage", b'{"dataset": 7}', headers(good, "g2"))
    last = version("garbage", 2)
    await send(kafka, "garbage", contract_of(last).encode(last), headers(last, "g3"))

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    async with (
        dead_letters(kafka, group=GROUP, topic=REGISTRY_DATASETS.name) as buried,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ),
    ):
        await until(lambda: got == [1, 2], what="both good events")
        first, second = await buried.getone(), await buried.getone()

    reasons = dict(first.headers)
    assert reasons["dlt_error_type"] == b"UndecodableEvent"
    assert b"header ce_id: not UTF-8" in reasons["dlt_error_message"]
    assert reasons["dlt_original_topic"] == REGISTRY_DATASETS.name.encode()
    assert first.value == body
    assert b"dataset" in dict(second.headers)["dlt_error_message"]


async def test_a_hopeless_record_is_dead_lettered_with_its_effects_undone(
    database: TestDatabase, kafka: str
) -> None:
    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("insert into effect (number) values ($1)", event.data.version)
        if event.data.version == 2:
            raise Permanent("two is not wanted")

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    async with (
        dead_letters(kafka, group=GROUP, topic=REGISTRY_DATASETS.name) as buried,
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ) as orchestrator,
    ):
        await orchestrator.pool.execute("create table effect (number int)")
        async with registry.bus.transaction() as tx:
            for number in (1, 2, 3):
                tx.emit(version("hopeless", number))
        record = await buried.getone()
        rows = await orchestrator.pool.fetch("select number from effect order by number")

    assert [row["number"] for row in rows] == [1, 3]
    assert dict(record.headers)["dlt_error_message"] == b"two is not wanted"


async def test_a_transient_failure_is_retried_and_keeps_the_order(
    database: TestDatabase, kafka: str
) -> None:
    tries = 0
    got: list[int] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        nonlocal tries
        await tx.connection.execute("select 1")
        if event.data.version == 2 and tries < 3:
            tries += 1
            raise Transient("not yet")
        if event.data.version not in got:
            got.append(event.data.version)

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ),
    ):
        async with registry.bus.transaction() as tx:
            for number in (1, 2, 3):
                tx.emit(version("transient", number))
        await until(lambda: 3 in got, what="the third event")

    assert (got, tries) == ([1, 2, 3], 3)


async def test_a_fenced_batch_leaves_no_effect(database: TestDatabase, kafka: str) -> None:
    """Another owner moves the offset while a handler works: this handler's work is dropped."""
    stolen = asyncio.Event()

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        _ = event
        await tx.connection.execute("insert into effect (number) values (1)")
        stolen.set()

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ) as orchestrator,
    ):
        await orchestrator.pool.execute("create table effect (number int)")
        consumer = orchestrator.bus.consumers[0]
        await until(lambda: _standing(consumer) == 12, what="the assignment")
        await orchestrator.pool.execute("update consumer_offset set next_offset=next_offset+1")
        async with registry.bus.transaction() as tx:
            tx.emit(version("fenced", 1))
        fenced = orchestrator.metrics.fenced.labels(GROUP)
        await until(lambda: fenced._value.get() == 1, what="the fence")

        assert await orchestrator.pool.fetchval("select count(*) from effect") == 0
        assert not stolen.is_set()


def _standing(consumer: Consumer) -> int:
    return sum(lane.standing is not None for lane in consumer.lanes)


KILLED = """
import asyncio, os, signal, sys
from headrace.events import DatasetVersionCreated
from headrace.runtime import db
from headrace.runtime.bus import Subscription, open_bus
from headrace.runtime.telemetry import Metrics, configure_logs

async def on_version(event, tx):
    await tx.connection.execute("insert into effect (number) values ($1)", event.data.version)
    if event.data.version == 3:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    url, kafka = sys.argv[1:]
    pool = await db.open_pool(url, schema="orchestrator", size=4)
    bus = open_bus(service="orchestrator", instance=0, kafka=kafka, database_url=url, pool=pool,
              metrics=Metrics(), log=configure_logs(service="orchestrator", level="error"))
    bus.subscribe([Subscription(group="orchestrator.events",
                                handlers={DatasetVersionCreated: on_version})])
    await bus.run()

asyncio.run(main())
"""


async def test_a_consumer_killed_between_effect_and_commit_changes_and_loses_nothing(
    database: TestDatabase, kafka: str
) -> None:
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    pool = await db.open_pool(database.url("orchestrator"), schema="orchestrator", size=1)
    await pool.execute("create table effect (number int)")
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        registry.bus.transaction() as tx,
    ):
        for number in range(1, 6):
            tx.emit(version("killed", number))
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, database.url("orchestrator"), kafka],
        timeout=60,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert await pool.fetchval("select count(*) from effect") == 0

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("insert into effect (number) values ($1)", event.data.version)

    async def all_there() -> bool:
        count: int = await pool.fetchval("select count(*) from effect")
        return count >= 5

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    async with member(
        database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
    ):
        await until(all_there, what="all effects")
    rows = await pool.fetch("select number from effect order by ctid")
    await pool.close()

    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5]


async def test_events_of_any_size_that_fits_are_published_and_larger_ones_refused_at_once(
    database: TestDatabase, kafka: str
) -> None:
    got: list[int] = []

    async def on_version(event: Event[ModelVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        got.append(event.data.version)

    def big(number: int, size: int) -> ModelVersionCreated:
        return ModelVersionCreated(model="big", version=number, source="x" * size)

    subscription = Subscription(group=GROUP, handlers={ModelVersionCreated: on_version})
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ),
    ):
        async with registry.bus.transaction() as tx:
            for number, size in enumerate((10, 1_000_000, 4_000_000, 600_000, 600_000, 1), start=1):
                tx.emit(big(number, size))
            with pytest.raises(InvalidInput, match="at most"):
                tx.emit(big(7, 5_000_000))
        await until(lambda: 6 in got, what="the last event")

    assert got == [1, 2, 3, 4, 5, 6]
