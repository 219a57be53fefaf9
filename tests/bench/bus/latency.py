"""From a commit in one service to the handler in another, at a steady rate.

`python -m tests.bench.bus.latency registry|orchestrator KAFKA URL 0` is one of the two. Both
write what they saw as lines on standard output: the version's number and the monotonic clock,
which is one for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from dataclasses import dataclass
from typing import Final

import asyncpg
import uvloop

from deploy.local import Stack
from headrace.events import DatasetVersionCreated
from headrace.events.topics import GROUPS
from headrace.runtime import db
from headrace.runtime.bus import Bus, Event, Subscription, Tx, open_bus
from headrace.runtime.telemetry import Metrics, configure_logs
from tests.bench.bus.meter import place, started
from tests.harness.bus import skip_history, until

DIGEST: Final = "sha256:" + "0" * 64
LANES: Final = sum(topic.partitions for topic in GROUPS["orchestrator.events"])
_WRITERS: Final = 16
_WARM_SECONDS: Final = 3.0
_UPSERT: Final = (
    "insert into dataset values ($1, $2) on conflict (name) do update set version=excluded.version"
)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Events a second, for so long, so many of them in each transaction."""

    rate: int
    seconds: int
    each: int


async def latency(stack: Stack, load: Load) -> list[float]:
    """Milliseconds of each event, sorted; the first three seconds are left out."""
    async with (
        place(stack, service="registry") as registry,
        place(stack, service="orchestrator") as orchestrator,
    ):
        await skip_history(
            database=orchestrator.database, kafka=orchestrator.kafka, service="orchestrator"
        )
        handling = await started(
            "tests.bench.bus.latency", "orchestrator", orchestrator.kafka, orchestrator.url
        )
        await handling.line()
        writing = await started(
            "tests.bench.bus.latency",
            *("registry", registry.kafka, registry.url),
            *(str(load.rate), str(load.seconds), str(load.each)),
        )
        most = load.seconds + 60
        count = load.rate * load.seconds // load.each * load.each
        committed, handled = await asyncio.gather(
            writing.rest(most), handling.until(count, seconds=most)
        )
    times = sorted(committed.items())[int(load.rate * _WARM_SECONDS) :]
    return sorted((handled[number] - at) * 1e3 for number, at in times)


async def _handle(kafka: str, url: str) -> None:
    pool = await db.open_pool(url, schema="orchestrator", size=6)
    bus = _bus("orchestrator", kafka, url, pool)

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        _ = tx
        print(event.data.version, time.monotonic(), flush=True)

    bus.subscribe(
        [Subscription(group="orchestrator.events", handlers={DatasetVersionCreated: on_version})]
    )
    running = asyncio.create_task(bus.run())
    lanes = bus.consumers[0]
    await until(lambda: sum(lane.standing is not None for lane in lanes.lanes) == LANES)
    print("ready", flush=True)
    await running


async def _write(kafka: str, url: str, load: Load) -> None:
    pool = await db.open_pool(url, schema="registry", size=_WRITERS)
    await pool.execute("create table dataset (name text primary key, version int not null)")
    bus = _bus("registry", kafka, url, pool)
    running = asyncio.create_task(bus.run())
    await until(lambda: bus.leading)
    begin = time.monotonic() + 0.1
    writers = (_writer(bus, begin, number, load) for number in range(_WRITERS))
    await asyncio.gather(*writers)
    await bus.stop()
    await running


async def _writer(bus: Bus, begin: float, writer: int, load: Load) -> None:
    """Every so many-th transaction, at its time: an aggregate's row and its events."""
    transactions = load.rate * load.seconds // load.each
    for number in range(writer, transactions, _WRITERS):
        due = begin + number * load.each / load.rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        name, first = f"latency-{writer}", number * load.each + 1
        versions = range(first, first + load.each)
        async with bus.transaction() as tx:
            await tx.connection.execute(_UPSERT, name, versions[-1])
            for version in versions:
                tx.emit(_version(name, version))
        committed = time.monotonic()
        for version in versions:
            print(version, committed)


def _version(name: str, number: int) -> DatasetVersionCreated:
    return DatasetVersionCreated(
        dataset=name, version=number, digest=DIGEST, rows=1, segments=1, origin="upload"
    )


def _bus(service: str, kafka: str, url: str, pool: asyncpg.Pool) -> Bus:
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    return open_bus(
        service=service,
        instance=0,
        kafka=kafka,
        database_url=url,
        pool=pool,
        metrics=Metrics(),
        log=configure_logs(service=service, level="error"),
    )


if __name__ == "__main__":
    which, broker, address, *numbers = sys.argv[1:]
    if which == "orchestrator":
        uvloop.run(_handle(broker, address))
    else:
        rate, seconds, each = map(int, numbers)
        uvloop.run(_write(broker, address, Load(rate=rate, seconds=seconds, each=each)))
