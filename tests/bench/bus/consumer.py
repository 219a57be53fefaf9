"""One consumer process: `python -m tests.bench.bus.consumer ours|peer KAFKA DATABASE_URL INSTANCE`.

Both write one row an event. Ours: validated, one transaction a batch, exactly once. The peer:
FastStream as its documentation begins, one `execute` an event.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Sequence

import asyncpg
import uvloop
from faststream.kafka import KafkaBroker

from headrace.events import StepChanged
from headrace.runtime import db
from headrace.runtime.bus import Event, Subscription, Tx, open_bus
from headrace.runtime.telemetry import Metrics, configure_logs
from tests.bench.bus.stream import GROUP, TOPIC

COLUMNS = ("run_id", "step", "state", "attempt", "seconds", "changed_at")
TABLE = (
    "create table if not exists step_effect (effect bigint generated always as identity,"
    " run_id text, step text, state text, attempt int, seconds float8, changed_at timestamptz)"
)
PEER_TABLE = TABLE.replace("step_effect", "peer_effect")


async def on_steps(events: Sequence[Event[StepChanged]], tx: Tx) -> None:
    """One COPY a batch: the offset's compare-and-set makes it safe."""
    rows = [
        (data.pipeline_run_id, data.step, data.state, data.attempt, data.seconds, data.changed_at)
        for data in (event.data for event in events)
    ]
    await tx.connection.copy_records_to_table("step_effect", records=rows, columns=COLUMNS)


async def ours(kafka: str, url: str, instance: int) -> None:
    pool = await db.open_pool(url, schema="registry", size=8)
    bus = open_bus(
        service="registry",
        instance=instance,
        kafka=kafka,
        database_url=url,
        pool=pool,
        metrics=Metrics(),
        log=configure_logs(service="registry", level="warning"),
    )
    bus.subscribe([Subscription(group=GROUP, batches={StepChanged: on_steps})])
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    await bus.run()


async def peer(kafka: str, url: str, instance: int) -> None:
    _ = instance
    pool = await asyncpg.create_pool(url, server_settings={"search_path": "registry"})
    broker = KafkaBroker(kafka, logger=None)

    @broker.subscriber(TOPIC, group_id="peer", auto_offset_reset="earliest")
    async def on_step(data: StepChanged) -> None:
        await pool.execute(
            "insert into peer_effect (run_id, step, state, attempt, seconds, changed_at)"
            " values ($1, $2, $3, $4, $5, $6)",
            data.pipeline_run_id,
            data.step,
            data.state,
            data.attempt,
            data.seconds,
            data.changed_at,
        )

    await broker.start()
    await asyncio.Event().wait()


def main() -> None:
    which, kafka, url, instance = sys.argv[1:]
    work = (ours if which == "ours" else peer)(kafka, url, int(instance))
    uvloop.run(work)


if __name__ == "__main__":
    main()
