"""A consumer whose handler takes as long as the event says."""

from __future__ import annotations

import asyncio

from headrace.events.orchestrator import PipelineRunRequested
from headrace.runtime import db
from headrace.runtime.bus import Event, Subscription, Tx
from headrace.runtime.telemetry import configure_logs
from tests.faults.worker import FIRST, Job, bus_of, run_until_told, write_to


def main(job: Job) -> None:
    """The process of one slot."""
    write_to(job.log)
    asyncio.run(_work(job))


async def _work(job: Job) -> None:
    pool = await db.open_pool(job.database_url, schema=job.slot.service, size=6)
    bus = bus_of(job, pool, configure_logs(service=job.slot.service, level="info"))
    bus.subscribe([Subscription(group=FIRST, handlers={PipelineRunRequested: _on_request})])
    await run_until_told(bus)
    pool.terminate()


async def _on_request(event: Event[PipelineRunRequested], tx: Tx) -> None:
    await asyncio.sleep(float(event.data.parameters.get("seconds", 0)))
    await tx.connection.execute(
        "insert into effect (id, key) values ($1, $2)", event.id, event.data.pipeline_run_id
    )
