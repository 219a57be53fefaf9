"""A small program on the real bus, in the place of a service: what the fault runs kill.

`registry` changes aggregates and emits DatasetVersionCreated; `orchestrator` writes an effect
and emits PipelineRunChanged; `registry` writes an effect of that. No constraint keeps the effect
tables free of duplicates: that is the bus's promise.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from headrace.errors import Permanent, Transient
from headrace.events.orchestrator import PipelineRunChanged, PipelineRunRequested
from headrace.events.registry import DatasetVersionCreated
from headrace.runtime import db
from headrace.runtime.bus import Bus, Event, Subscription, Tx, failpoints, open_bus
from headrace.runtime.telemetry import Log, Metrics, configure_logs
from tests.faults.producer import HOPELESS, TROUBLED, Producer
from tests.faults.slots import Slot

FIRST: Final = "orchestrator.events"
SECOND: Final = "registry.events"
PIPELINE: Final = "faults"
TABLES: Final = """
create table if not exists aggregate (key text primary key, position bigint not null);
create table if not exists written (n bigint generated always as identity, id text, key text);
create table if not exists effect (
    n bigint generated always as identity, id text not null, key text not null, follow_up text
);
create table if not exists offset_move (
    n bigint generated always as identity, grp text, topic text, part int, next_offset bigint
);
create or replace function note_offset() returns trigger language plpgsql
set search_path from current as $$
begin
    insert into offset_move (grp, topic, part, next_offset)
    values (new.grp, new.topic, new.part, new.next_offset);
    return null;
end $$;
create or replace trigger note_offset after insert or update on consumer_offset
for each row execute function note_offset();
"""
"""Every move of a stored offset is kept: looking now and then would miss one that is repaired."""
_TRIES: Final = 2
_ORPHAN_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a worker is told; `orders` and `journals` are paths that it shares."""

    slot: Slot
    kafka: str
    database_url: str
    log: Path
    orders: Path
    journals: Path
    crash_at: str = ""


def main(job: Job) -> None:
    """Work until told to stop, killed, or left alone by whoever started this."""
    write_to(job.log)
    _arm(job.crash_at)
    asyncio.run(_work(job))


async def prepare(url: str, *, service: str) -> None:
    """Make the tables of one service."""
    pool = await db.open_pool(url, schema=service, size=1)
    try:
        await db.migrate(pool, schema=service, packages=(db.BUS_MIGRATIONS,))
        await pool.execute(TABLES)
    finally:
        await pool.close()


def write_to(path: Path) -> None:
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _arm(crash_at: str) -> None:
    """The process is forked from one that has read the environment already: read it anew."""
    os.environ["HEADRACE_CRASH_AT"] = crash_at
    importlib.reload(failpoints)


async def _work(job: Job) -> None:
    await db.wait_until_up(job.database_url)
    pool = await db.open_pool(job.database_url, schema=job.slot.service, size=6)
    log = configure_logs(service=job.slot.service, level="info")
    bus = bus_of(job, pool, log.bind(slot=str(job.slot), pid=os.getpid()))
    bus.subscribe([_subscription(job.slot.service)])
    producing = [_produce(job, bus, log)] if job.slot.service == "registry" else []
    await run_until_told(bus, producing)
    pool.terminate()


def bus_of(job: Job, pool: asyncpg.Pool, log: Log) -> Bus:
    """The slot's bus, through the slot's proxies."""
    return open_bus(
        service=job.slot.service,
        instance=job.slot.instance,
        kafka=job.kafka,
        database_url=job.database_url,
        pool=pool,
        metrics=Metrics(),
        log=log,
    )


async def run_until_told(bus: Bus, beside: Sequence[Coroutine[None, None, None]] = ()) -> None:
    """Run the bus, and something beside it, until told to stop; then stop it in order."""
    running = asyncio.create_task(bus.run())
    told = asyncio.create_task(until_told_to_stop())
    others = [told, *(asyncio.create_task(one) for one in beside)]
    done, _ = await asyncio.wait([running, *others], return_when=asyncio.FIRST_COMPLETED)
    if told in done:
        await bus.stop()
        await asyncio.wait({running}, timeout=_STOP_SECONDS)
    for task in (running, *others):
        task.cancel()
    await asyncio.gather(running, *others, return_exceptions=True)
    for task in done:
        task.result()


def _subscription(service: str) -> Subscription:
    if service == "registry":
        return Subscription(group=SECOND, batches={PipelineRunChanged: _on_changes})
    first = _FirstHop()
    return Subscription(
        group=FIRST,
        handlers={
            DatasetVersionCreated: first.on_dataset_version,
            PipelineRunRequested: first.on_request,
        },
    )


async def _produce(job: Job, bus: Bus, log: Log) -> None:
    producer = Producer(
        bus=bus,
        name=f"{job.slot}-{os.getpid()}",
        orders=job.orders,
        journals=job.journals,
        log=log,
    )
    await producer.run()


async def until_told_to_stop() -> None:
    """Return on SIGTERM, or when the parent is gone."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    parent = os.getppid()
    while os.getppid() == parent and not told.is_set():
        await asyncio.wait({asyncio.create_task(told.wait())}, timeout=_ORPHAN_SECONDS)


@dataclass(slots=True)
class _FirstHop:
    """Handlers of the first group; `tried` counts per event that fails at first."""

    tried: Counter[str] = field(default_factory=Counter)

    async def on_dataset_version(self, event: Event[DatasetVersionCreated], tx: Tx) -> None:
        if event.data.rows == HOPELESS:
            raise Permanent("refused on purpose")
        if event.data.rows == TROUBLED and self.tried[event.id] < _TRIES:
            self.tried[event.id] += 1
            raise Transient("failed on purpose")
        await _pass_on(event, event.data.dataset, tx)

    async def on_request(self, event: Event[PipelineRunRequested], tx: Tx) -> None:
        await _pass_on(event, event.data.pipeline_run_id, tx)


async def _pass_on(
    event: Event[DatasetVersionCreated] | Event[PipelineRunRequested], key: str, tx: Tx
) -> None:
    follow_up = tx.emit(
        PipelineRunChanged(
            pipeline_run_id=key,
            pipeline=PIPELINE,
            state="running",
            parameters={"attempt": event.id},
            changed_at=datetime.now(UTC),
        )
    )
    await tx.connection.execute(
        "insert into effect (id, key, follow_up) values ($1, $2, $3)", event.id, key, follow_up
    )


async def _on_changes(events: Sequence[Event[PipelineRunChanged]], tx: Tx) -> None:
    await tx.connection.execute(
        "insert into effect (id, key) select * from unnest($1::text[], $2::text[])",
        [event.data.parameters["attempt"] for event in events],
        [event.data.pipeline_run_id for event in events],
    )
