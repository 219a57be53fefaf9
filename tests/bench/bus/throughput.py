"""Kafka to PostgreSQL: exactly once in batches, beside FastStream's defaults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deploy.local import Stack
from tests.bench.bus.consumer import PEER_TABLE, TABLE
from tests.bench.bus.meter import Cpu, Place, place, processes
from tests.bench.bus.stream import GROUP, TOPIC, fill

_MOST_SECONDS = 120.0
Progress = Callable[[], Awaitable[int]]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Events handled from the first progress seen to the last."""

    events: int
    seconds: float
    cpu: Cpu

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    def line(self, what: str) -> str:
        each = self.cpu.each(self.events)
        return f"{what}: {self.per_second:,.0f} events/s ({self.events:,} events; {each})"


async def ours(stack: Stack, count: int, *, consumers: int) -> Rate:
    """Our consumer over the whole backlog; checks that every event took effect once.

    Several processes are measured over the last two thirds, when all of them have partitions.
    """
    async with place(stack, service="registry") as here:
        await here.pool.execute(TABLE)

        async def handled() -> int:
            found: int = await here.pool.fetchval(
                "select coalesce(sum(next_offset), 0)::bigint from consumer_offset"
                " where grp=$1 and topic=$2",
                GROUP,
                TOPIC,
            )
            return found

        begin = 1 if consumers == 1 else count // 3
        rate = await _measure(here, "ours", consumers, handled, begin=begin, until=count)
        rows = await here.pool.fetchrow(
            "select count(*) as all, count(distinct (run_id, attempt)) as different"
            " from step_effect"
        )
        assert rows is not None
        assert rows["all"] == rows["different"] == count, f"{dict(rows)} of {count}"
        return rate


async def peer(stack: Stack, count: int) -> Rate:
    """FastStream's single subscriber over a part of the backlog."""
    async with place(stack, service="registry") as here:
        await here.pool.execute(PEER_TABLE)

        async def handled() -> int:
            found: int = await here.pool.fetchval(
                "select case when is_called then last_value else 0 end from peer_effect_effect_seq"
            )
            return found

        return await _measure(here, "peer", 1, handled, begin=1, until=count)


async def backlog(stack: Stack, count: int) -> int:
    """Publish what both consume; returns the mean size of an event's data in bytes."""
    return await fill(stack.backends.kafka, count)


async def _measure(
    here: Place, which: str, consumers: int, handled: Progress, *, begin: int, until: int
) -> Rate:
    arguments = (which, here.kafka, here.url)
    with processes(consumers, "tests.bench.bus.consumer", *arguments) as running:
        deadline = time.monotonic() + _MOST_SECONDS
        while (first := await handled()) < begin:
            await asyncio.sleep(0.005)
            assert time.monotonic() < deadline, f"{which}: nothing handled"
        began, before = time.perf_counter(), here.cpu(running)
        while (last := await handled()) < until:
            await asyncio.sleep(0.01)
            assert time.monotonic() < deadline, f"{which}: {last} of {until} handled"
        seconds = time.perf_counter() - began
        return Rate(events=last - first, seconds=seconds, cpu=here.cpu(running).since(before))
