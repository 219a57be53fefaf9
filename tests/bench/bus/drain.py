"""How fast a relay empties an outbox; `python -m tests.bench.bus.drain KAFKA URL 0` is one."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Final

import uvloop

from deploy.local import Stack
from headrace.runtime import db
from headrace.runtime.bus import open_bus
from headrace.runtime.telemetry import Metrics, configure_logs
from tests.bench.bus.meter import place, processes
from tests.bench.bus.stream import event
from tests.bench.bus.throughput import Rate

_CHUNK: Final = 10_000
_MOST_SECONDS: Final = 120.0


async def drain(stack: Stack, count: int) -> Rate:
    """Rows a second from the first row published to an empty outbox."""
    async with place(stack, service="orchestrator") as here:
        bus = open_bus(
            service="orchestrator",
            instance=1,
            kafka=here.kafka,
            database_url=here.url,
            pool=here.pool,
            metrics=Metrics(),
            log=configure_logs(service="orchestrator", level="warning"),
        )
        for first in range(0, count, _CHUNK):
            async with bus.transaction() as tx:
                for number in range(first, min(first + _CHUNK, count)):
                    tx.emit(event(number))

        async def left() -> int:
            found: int = await here.pool.fetchval("select count(*) from outbox")
            return found

        with processes(1, "tests.bench.bus.drain", here.kafka, here.url) as running:
            deadline = time.monotonic() + _MOST_SECONDS
            while (begun := await left()) == count:
                await asyncio.sleep(0.005)
                assert time.monotonic() < deadline, "nothing was published"
            began, before = time.perf_counter(), here.cpu(running)
            while await left():
                await asyncio.sleep(0.05)
                assert time.monotonic() < deadline, "the outbox was not emptied"
            seconds = time.perf_counter() - began
            return Rate(events=begun, seconds=seconds, cpu=here.cpu(running).since(before))


async def _relay(kafka: str, url: str) -> None:
    pool = await db.open_pool(url, schema="orchestrator", size=2)
    bus = open_bus(
        service="orchestrator",
        instance=0,
        kafka=kafka,
        database_url=url,
        pool=pool,
        metrics=Metrics(),
        log=configure_logs(service="orchestrator", level="warning"),
    )
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    await bus.run()


if __name__ == "__main__":
    uvloop.run(_relay(sys.argv[1], sys.argv[2]))
