"""A handler that takes long holds up its own partition, and neither the others nor the memory."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import asyncpg
import psutil
import pytest

from headrace.client.events import EventProducer
from headrace.events.orchestrator import PipelineRunRequested
from tests.faults import findings
from tests.faults.fleet import Fleet
from tests.faults.servers import Servers
from tests.faults.slots import CONSUMERS
from tests.faults.slow import main
from tests.faults.worker import prepare
from tests.harness.bus import until
from tests.harness.history import Attempt, Effect, Group, History, Outcome, check

SLOW, FAST = "lazy-0", ("brisk-0", "brisk-1", "brisk-7", "brisk-12")
"""The slow key is alone in its partition, by the hash that producers place keys with."""
HELD_UP, SECONDS = 12, 0.5
BACKLOG, PADDING = 12_000, 6_000
"""Events behind the slow ones, and random bytes in each: 72 MB that do not compress."""
GROWTH = 100 * 1024 * 1024
"""A fetch of 8 MB a partition, decoded, and what the allocator keeps of it."""


@pytest.fixture
async def consumer(servers: Servers) -> AsyncIterator[psutil.Process]:
    """One process that is the whole group."""
    await prepare(servers.backends.database_url("orchestrator"), service="orchestrator")
    fleet = Fleet(servers=servers, directory=servers.directory, program=main)
    async with servers.proxied():
        fleet.start((CONSUMERS[0],))
        try:
            yield psutil.Process(fleet.pid(CONSUMERS[0]))
        finally:
            await fleet.stop()
            print((fleet.logs / f"{CONSUMERS[0]}.log").read_text())


@pytest.mark.timeout(240)
async def test_a_slow_handler_holds_up_its_own_partition_only(
    servers: Servers, consumer: psutil.Process
) -> None:
    before = consumer.memory_info().rss
    largest = [before]
    watching = asyncio.create_task(_watch(consumer, largest))
    async with (
        EventProducer(kafka=servers.backends.kafka, source="/slow-test") as producer,
        findings.connected(servers.backends.admin_url()) as connection,
    ):
        attempts = await _send(producer, SLOW, HELD_UP, seconds=SECONDS)
        attempts += await _send(producer, SLOW, BACKLOG, after=HELD_UP, padding=PADDING)
        fast = [one for key in FAST for one in await _send(producer, key, 50)]
        await until(lambda: _count(connection, "brisk-%", len(fast)), seconds=60, what="the others")
        slow_by_then = await connection.fetchval(_COUNT, f"{SLOW}%")
        await until(
            lambda: _count(connection, "lazy-%", len(attempts)), seconds=120, what="the slow one"
        )
        effects = [
            Effect(id=row["id"], key=row["key"])
            for row in await connection.fetch("select id, key from orchestrator.effect order by n")
        ]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    history = History(
        attempts=[*attempts, *fast], groups=[Group(name="orchestrator.events", effects=effects)]
    )
    assert check(history) == []
    assert max(largest) - before < GROWTH
    assert slow_by_then < HELD_UP, "the other partitions waited for the slow one"


_COUNT = "select count(*) from orchestrator.effect where key like $1"


async def _count(connection: asyncpg.Connection, keys: str, expected: int) -> bool:
    return bool(await connection.fetchval(_COUNT, keys) >= expected)


async def _send(
    producer: EventProducer,
    key: str,
    count: int,
    *,
    after: int = 0,
    seconds: float = 0.0,
    padding: int = 0,
) -> list[Attempt]:
    attempts: list[Attempt] = []
    for first in range(0, count, 500):
        events = [
            PipelineRunRequested(
                pipeline_run_id=key,
                pipeline="slow",
                requested_by="a test",
                parameters={"seconds": seconds, "padding": secrets.token_hex(padding // 2)},
            )
            for _ in range(first, min(count, first + 500))
        ]
        ids = await producer.emit_many(events)
        attempts.extend(
            Attempt(
                id=id_,
                key=key,
                position=after + first + number,
                outcome=Outcome.ACKNOWLEDGED,
            )
            for number, id_ in enumerate(ids)
        )
    return attempts


async def _watch(process: psutil.Process, largest: list[int]) -> None:
    with contextlib.suppress(psutil.Error):
        while True:
            largest.append(process.memory_info().rss)
            await asyncio.sleep(0.1)
