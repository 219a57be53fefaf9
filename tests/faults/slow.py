"""A consumer whose handler takes as long as the event says."""

from __future__ import annotations

import asyncio

from headrace.events.orchestrator import PipelineRunRequested
from headrace.runtime import db
from headrace.runtime.bus import Event, Subscription, Tx, open_bus
from headrace.runtime.telemetry import Metrics, configure_logs
from tests.faults.worker import FIRST, Job, until_told_to_stop, write_to


def main(job: Job) -> None:
    """The process of one slot."""
    write_to(job.log)
    asyncio.run(_work(job))


async def _work(job: Job) -> None:
    service = job.slot.service
    pool = await db.open_pool(job.database_url, schema=service, size=6)
    bus = open_bus(
        service=service,
        instance=job.slot.instance,
        kafka=job.kafka,
        database_url=job.database_url,
        pool=pool,
        metrics=Metrics(),
        log=configure_logs(service=service, level="info"),
    )
    bus.subscribe([Subscription(group=FIRST, handlers={PipelineRunRequested: _on_request})])
    running = asyncio.create_task(bus.run())
    await until_told_to_stop()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    pool.terminate()


async def _on_request(event: Event[PipelineRunRequested], tx: Tx) -> None:
    await asyncio.sleep(float(event.data.parameters.get("seconds", 0)))
    await tx.connection.execute(
        "insert into effect (id, key) values ($1, $2)", event.id, event.data.pipeline_run_id
    )
