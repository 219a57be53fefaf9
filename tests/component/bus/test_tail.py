"""Views are rebuilt from the log: everything once, in order, undecodable records passed over."""

from __future__ import annotations

import asyncio
from typing import Any

from deploy.local.testing import TestDatabase
from headrace.client.records import RecordSender, durable_producer
from headrace.events.topics import REGISTRY_DATASETS
from headrace.runtime.bus import Event, Tail, outbox
from headrace.runtime.bus.relay import _record
from headrace.runtime.telemetry import configure_logs
from tests.component.bus.test_effects import send, version
from tests.harness.bus import member, until


async def test_a_tail_reads_from_the_beginning_and_each_event_once(
    database: TestDatabase, kafka: str
) -> None:
    async with member(database=database, kafka=kafka, service="registry", relay=False) as registry:
        async with registry.bus.transaction() as tx:
            for number in range(1, 4):
                tx.emit(version("tailed", number))
        producer = durable_producer(kafka, client_id="tail-test")
        await producer.start()
        async with registry.pool.acquire() as connection:
            source = f"/registry/{await outbox.incarnation(connection)}"
            batch = await outbox.take_batch(connection, limit=10)
            for _ in range(2):
                await RecordSender(producer).send([_record(source, row) for row in batch])
                await send(kafka, "tailed", b"{", [("ce_specversion", b"1.0")])
        await producer.stop()
    got: list[int] = []

    async def on_event(event: Event[Any]) -> None:
        if event.data.dataset == "tailed":
            got.append(event.data.version)

    tail = Tail(
        kafka=kafka,
        topics=[REGISTRY_DATASETS],
        on_event=on_event,
        log=configure_logs(service="tail", level="warning"),
    )
    running = asyncio.create_task(tail.run())
    await until(tail.caught_up.is_set, what="the end of the log")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert got == [1, 2, 3]
