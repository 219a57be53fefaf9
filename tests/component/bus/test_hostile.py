"""What an attack found: inputs and silences that once held up a partition, a relay or a view."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.testing import TestDatabase
from headrace.client.records import Record, RecordSender, durable_producer
from headrace.errors import InvalidInput
from headrace.events import DatasetVersionCreated, contract_of
from headrace.events.topics import REGISTRY_DATASETS
from headrace.runtime.bus import Caller, Event, Subscription, Tail, Tx
from headrace.runtime.bus.model import Patience
from headrace.runtime.telemetry import configure_logs
from tests.component.bus.test_effects import GROUP, headers, version
from tests.harness.bus import ends, member, until

TOPIC = REGISTRY_DATASETS.name
GOOD = version("hostile", 1)
BODY = contract_of(GOOD).encode(GOOD)
STRUCTURED = [("content-type", b"application/cloudevents+json")]
DEEP = b"[" * 300 + b"]" * 300
BRACKETS = b"[" * 900 + b"]" * 900
START = b'{"specversion":"1.0","source":"/s","type":"' + contract_of(GOOD).type.encode()
LONG = "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 1000

HOSTILE: dict[str, tuple[bytes, bytes, list[tuple[str, bytes]]]] = {
    "deep data": (b"k", START + b'","id":"1","data":' + DEEP + b"}", STRUCTURED),
    "brackets for an id": (b"k", START + b'","id":' + BRACKETS + b',"data":{}}', STRUCTURED),
    "a long id of wide characters": (
        b"k",
        BODY,
        [(n, LONG.encode() if n == "ce_id" else v) for n, v in headers(GOOD, "x")],
    ),
    "a long key of wide characters": (LONG.encode(), BODY, headers(GOOD, "y")),
}


async def send_to_one(kafka: str, *records: tuple[bytes, bytes, list[tuple[str, bytes]]]) -> None:
    """All into one partition, so that a stalled one is seen."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for key, value, fields in records:
        await producer.send_and_wait(TOPIC, value, key=key, headers=fields, partition=0)
    await producer.stop()


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_record_stops_neither_its_partition_nor_a_view(
    database: TestDatabase, kafka: str, name: str
) -> None:
    got: list[str] = []
    seen: list[str] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        got.append(event.id)

    async def on_event(event: Event[Any]) -> None:
        seen.append(event.id)

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    tail = Tail(
        kafka=kafka,
        topics=[REGISTRY_DATASETS],
        on_event=on_event,
        log=configure_logs(service="tail", level="error"),
    )
    async with member(
        database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
    ):
        await send_to_one(kafka, HOSTILE[name], (b"k", BODY, headers(GOOD, f"after {name}")))
        await until(lambda: f"after {name}" in got, what="the record behind it")
        view = asyncio.create_task(tail.run())
        await until(lambda: f"after {name}" in seen, what="the record behind it in a view")
        view.cancel()
        await asyncio.gather(view, return_exceptions=True)


async def test_batches_that_headers_make_too_large_are_sent_in_parts(kafka: str) -> None:
    producer = durable_producer(kafka, client_id="large-headers")
    await producer.start()
    many = [
        Record(topic=TOPIC, key=b"k", value=b"{}", headers=[("x", b"h" * 60_000)])
        for _ in range(200)
    ]
    before = sum((await ends(kafka, [TOPIC])).values())
    await RecordSender(producer).send(many)
    await producer.stop()

    assert sum((await ends(kafka, [TOPIC])).values()) == before + 200


async def test_what_readers_would_refuse_is_refused_before_the_commit(
    database: TestDatabase, kafka: str
) -> None:
    async with member(database=database, kafka=kafka, service="registry", relay=False) as registry:
        async with registry.bus.transaction() as tx:
            with pytest.raises(InvalidInput, match="key: expected at most"):
                tx.emit(version("a\x00b", 1))
            with pytest.raises(InvalidInput, match="ce_correlationid"):
                tx.emit(GOOD, correlation_id="c" * 1001)
        assert await registry.pool.fetchval("select count(*) from outbox") == 0


def test_ids_that_no_reader_would_take_are_not_taken_over_from_a_caller() -> None:
    long = Caller.of({"x-correlation-id": "c" * 60_000, "x-causation-id": "\x07"})
    good = Caller.of({"x-correlation-id": "turn-7", "x-causation-id": "alert-1"})

    assert len(long.correlation_id) < 100
    assert long.causation_id is None
    assert (good.correlation_id, good.causation_id) == ("turn-7", "alert-1")


async def test_an_event_that_cannot_be_told_parks_its_cause_and_no_other(
    database: TestDatabase, kafka: str
) -> None:
    got: list[int] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        if event.data.version == 1:
            tx.emit(version("a\x00b", 1))
        got.append(event.data.version)

    subscription = Subscription(
        group=GROUP, handlers={DatasetVersionCreated: on_version}, patience=Patience(attempts=2)
    )
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ),
    ):
        async with registry.bus.transaction() as tx:
            tx.emit(version("untellable", 1))
            tx.emit(version("untellable", 2))
        await until(lambda: got == [2], what="the event behind it")


async def test_a_closed_gate_does_not_keep_a_member_from_stopping(
    database: TestDatabase, kafka: str
) -> None:
    async def on_versions(events: Sequence[Event[DatasetVersionCreated]], tx: Tx) -> None:
        _ = events, tx

    subscription = Subscription(group=GROUP, batches={DatasetVersionCreated: on_versions})
    began = asyncio.get_running_loop().time()
    async with member(
        database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
    ) as orchestrator:
        consumer = orchestrator.bus.consumers[0]
        await until(lambda: len(consumer.lanes) == 12, what="the assignment")
        await consumer.gate.close()
        stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < 8
    assert stopping - began < 30


async def test_lag_is_seen_while_a_partition_fails(database: TestDatabase, kafka: str) -> None:
    sick = True

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        if sick and event.data.dataset == "lagging":
            raise RuntimeError("not now")

    patience = Patience(attempts=10_000, longest_pause=0.2)
    subscription = Subscription(
        group=GROUP, handlers={DatasetVersionCreated: on_version}, patience=patience
    )
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ) as orchestrator,
    ):
        async with registry.bus.transaction() as tx:
            for number in range(1, 21):
                tx.emit(version("lagging", number))
        gauge = orchestrator.metrics.lag.labels(GROUP, TOPIC)
        await until(lambda: bool(gauge._value.get() == 20), what="a lag of 20")
        assert (failing := orchestrator.bus.consumers[0].failing) is not None
        assert "not now" in failing.failure
        sick = False
        await until(lambda: bool(gauge._value.get() == 0), what="no lag")
