"""A bus of one service on the shared broker, in a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.testing import TestDatabase
from headrace.events.topics import GROUPS, dead_letter_topic
from headrace.runtime import db
from headrace.runtime.bus import Bus, Subscription, open_bus
from headrace.runtime.bus.kafka import Kafka
from headrace.runtime.bus.pipeline import Pipeline
from headrace.runtime.bus.postgres import Postgres
from headrace.runtime.telemetry import Metrics, configure_logs
from headrace.runtime.tracing import SilentTracer


@dataclass(frozen=True, kw_only=True)
class Member:
    """A running bus and what a test wants to look at."""

    bus: Bus
    pool: asyncpg.Pool
    metrics: Metrics
    die: Callable[[], object]
    """End the bus where it stands."""


async def until(
    condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20, what: str = "condition"
) -> None:
    """Wait for a condition. Raises AssertionError naming `what` when it does not come."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        met = condition()
        if not isinstance(met, bool):
            met = await met
        if met:
            return
        assert asyncio.get_running_loop().time() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.01)


async def ends(kafka: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """The present end of every partition of some topics."""
    client = AIOKafkaConsumer(*topics, bootstrap_servers=kafka, enable_auto_commit=False)
    await client.start()
    try:
        places = sorted(client.assignment())
        assert {place.topic for place in places} == set(topics)
        found: dict[TopicPartition, int] = await client.end_offsets(places)
        return found
    finally:
        await client.stop()


async def skip_history(
    *, database: TestDatabase, kafka: str, service: str, groups: Collection[str] | None = None
) -> None:
    """Make a service that never ran begin at the present end of the topics that it reads.

    Named groups do so though they ran: nobody must be in them.
    """
    pool = await db.open_pool(database.url(service), schema=service, size=1)
    try:
        await db.migrate(pool, schema=service, packages=(db.BUS_MIGRATIONS,))
        for group, topics in GROUPS.items():
            if not group.startswith(f"{service}.") or group not in (groups or {group}):
                continue
            if groups:
                await pool.execute("delete from consumer_offset where grp = $1", group)
            for place, end in (await ends(kafka, [topic.name for topic in topics])).items():
                await pool.execute(
                    "insert into consumer_offset (grp, topic, part, next_offset)"
                    " values ($1, $2, $3, $4) on conflict do nothing",
                    group,
                    place.topic,
                    place.partition,
                    end,
                )
    finally:
        await pool.close()


@asynccontextmanager
async def member(
    *,
    database: TestDatabase,
    kafka: str,
    service: str,
    subscriptions: Sequence[Subscription] = (),
    instance: int = 0,
    relay: bool = True,
) -> AsyncIterator[Member]:
    """A service's bus, running; with `relay=False` its outbox stays unpublished."""
    await skip_history(database=database, kafka=kafka, service=service)
    url = database.url(service)
    pool = await db.open_pool(url, schema=service, size=4)
    metrics = Metrics()
    bus = open_bus(
        service=service,
        instance=instance,
        kafka=kafka,
        database_url=url,
        pool=pool,
        metrics=metrics,
        log=configure_logs(service=service, level="warning"),
    )
    bus.subscribe(subscriptions)
    running = asyncio.create_task(bus.run()) if relay else None
    try:
        die = running.cancel if running is not None else lambda: None
        yield Member(bus=bus, pool=pool, metrics=metrics, die=die)
    finally:
        if running is not None:
            await bus.stop()
            await asyncio.wait({running}, timeout=20)
            if not running.cancelled():
                running.result()
        await pool.close()


async def publish_again(*, pool: asyncpg.Pool, url: str, kafka: str, times: int) -> None:
    """Publish registry's outbox as relays do that die, but for the last, before they forget it."""
    postgres = Postgres(pool=pool, url=url, service="registry")
    async with (
        Kafka(kafka, service="registry").sender() as sender,
        postgres.relay_session(lambda: None) as session,
    ):
        assert await session.lead()
        source = f"/registry/{await session.incarnation()}"
        batch = await session.turn([], limit=1000)
        assert batch is not None
        for _ in range(times):
            pipeline = Pipeline(sender=sender, source=source, tracer=SilentTracer())
            await pipeline.begin(batch)
            await pipeline.wait(seconds=10)
            assert pipeline.take_finished() == [batch]
        await session.turn([batch], limit=0)


@asynccontextmanager
async def dead_letters(kafka: str, *, group: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of the dead letters that arrive from now on."""
    name = dead_letter_topic(group, topic)
    where = await ends(kafka, [name])
    client = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await client.start()
    try:
        client.assign(list(where))
        for place, end in where.items():
            client.seek(place, end)
        yield client
    finally:
        await client.stop()
