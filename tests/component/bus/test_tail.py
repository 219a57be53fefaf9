"""Views are rebuilt from the log: everything once, in order, undecodable records passed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from deploy.local.testing import TestDatabase
from headrace.client.records import durable_producer
from headrace.events import Contract, Envelope, ModelAliasState, contract_of, encode_headers
from headrace.events.topics import REGISTRY_ALIASES, REGISTRY_DATASETS, Topic
from headrace.runtime.bus import Event, Tail, Tombstone, apply_topics
from headrace.runtime.telemetry import configure_logs
from tests.component.bus.test_effects import send, version
from tests.harness.bus import member, publish_again, until


async def test_a_tail_reads_from_the_beginning_and_each_event_once(
    database: TestDatabase, kafka: str
) -> None:
    async with member(database=database, kafka=kafka, service="registry", relay=False) as registry:
        async with registry.bus.transaction() as tx:
            for number in range(1, 4):
                tx.emit(version("tailed", number))
        url = database.url("registry")
        await publish_again(pool=registry.pool, url=url, kafka=kafka, times=2)
        await send(kafka, "tailed", b"{", [("ce_specversion", b"1.0")])
    got: list[int] = []

    async def on_event(event: Event[Any]) -> None:
        if event.data.dataset == "tailed":
            got.append(event.data.version)

    async with following(kafka, REGISTRY_DATASETS, on_event):
        pass

    assert got == [1, 2, 3]


async def test_a_key_without_state_is_told_of_in_its_place(kafka: str) -> None:
    model = f"model-{uuid4().hex[:8]}"
    state = alias_state(model)
    contract = contract_of(state)
    key = contract.key(state).encode()
    told: list[object] = []

    async def on_event(event: Event[Any]) -> None:
        if event.data.model == model:
            told.append(event.data)

    async def on_tombstone(tombstone: Tombstone) -> None:
        if tombstone.key_values[1] == model:
            told.append((tombstone.contract.model, tombstone.key_values))

    async with producer(kafka) as client:
        for value in (contract.encode(state), None, contract.encode(state), None):
            await client.send_and_wait(
                contract.topic.name, key=key, value=value, headers=headers(contract)
            )
        await client.send_and_wait(contract.topic.name, key=key, value=None)
        await client.send_and_wait(contract.topic.name, key=b"no key of ours", value=None)
        async with following(kafka, REGISTRY_ALIASES, on_event, on_tombstone):
            pass

    gone = (ModelAliasState, ("default", model, "champion"))
    assert told == [state, gone, state, gone, gone]


async def test_a_tombstone_that_a_relay_sent_twice_is_told_once(kafka: str) -> None:
    model = f"model-{uuid4().hex[:8]}"
    state = alias_state(model)
    contract = contract_of(state)
    relay = f"/registry/{uuid4()}"
    told: list[object] = []

    async def on_event(event: Event[Any]) -> None:
        if event.data.model == model:
            told.append(event.data.version)

    async def on_tombstone(tombstone: Tombstone) -> None:
        if tombstone.key_values[1] == model:
            told.append(None)

    async with producer(kafka) as client:
        for number, value in ((1, None), (2, contract.encode(state)), (1, None)):
            await client.send_and_wait(
                contract.topic.name,
                key=contract.key(state).encode(),
                value=value,
                headers=headers(contract, source=relay, number=number),
            )
        async with following(kafka, REGISTRY_ALIASES, on_event, on_tombstone):
            pass

    assert told == [None, 1]


async def test_a_log_that_ends_without_a_record_is_caught_up_with(kafka: str) -> None:
    """Commit markers of transactions take offsets that no reader ever gets as a record."""
    topic = Topic(name=f"test.tail.{uuid4().hex[:8]}", partitions=2, retention_ms=3_600_000)
    await apply_topics(kafka, [topic])
    client = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic.name)
    await client.start()
    async with client.transaction():
        for partition in (0, 1):
            await client.send(topic.name, b"not an event", partition=partition)
    await client.stop()

    async def on_event(event: Event[Any]) -> None:
        _ = event

    async with following(kafka, topic, on_event):
        pass


def alias_state(model: str) -> ModelAliasState:
    return ModelAliasState(
        model=model, alias="champion", version=1, cause="promotion", moved_at=datetime.now(UTC)
    )


def headers(
    contract: Contract[Any], *, source: str = "/test", number: int | None = None
) -> list[tuple[str, bytes]]:
    envelope = Envelope(
        id=str(uuid4()),
        source=source,
        type=contract.type,
        time=datetime.now(UTC),
        sequence=None if number is None else f"{number:020d}",
    )
    return encode_headers(envelope)


@asynccontextmanager
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    client = durable_producer(kafka, client_id="tail-test")
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def _none(tombstone: Tombstone) -> None:
    _ = tombstone


@asynccontextmanager
async def following(
    kafka: str,
    topic: Topic,
    on_event: Callable[[Event[Any]], Awaitable[None]],
    on_tombstone: Callable[[Tombstone], Awaitable[None]] = _none,
) -> AsyncIterator[None]:
    """A tail of the topic that has caught up."""
    tail = Tail(
        kafka=kafka,
        topics=[topic],
        on_event=on_event,
        on_tombstone=on_tombstone,
        log=configure_logs(service="tail", level="warning"),
    )
    running = asyncio.create_task(tail.run())
    try:
        await until(tail.caught_up.is_set, what="the end of the log")
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
