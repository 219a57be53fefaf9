"""Views are rebuilt from the log: everything once, in order, undecodable records passed over."""

from __future__ import annotations

import asyncio
from typing import Any

from deploy.local.testing import TestDatabase
from headrace.events.topics import REGISTRY_DATASETS
from headrace.runtime.bus import Event, Tail
from headrace.runtime.telemetry import configure_logs
from tests.component.bus.test_effects import send, version
from tests.harness.bus import member, publish_again, until


async def test_a_tail_reads_from_the_beginning_and_each_event_once(
    database: TestDatabase, kafka: str
) -> None:
    async with member(database=database, kafka=kafka, service="registry", relay=False) as registry:
        async with registry.bus.transaction() as tx:
            for number in range(1, 4):
                tx.emit(version("tailed", number))
        url = database.url("registry")
        await publish_again(pool=registry.pool, url=url, kafka=kafka, times=2)
        await send(kafka, "tailed", b"{", [("ce_specversion", b"1.0")])
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
