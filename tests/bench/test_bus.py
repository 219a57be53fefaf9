"""The bus on real Kafka and PostgreSQL: how soon, how many."""

from __future__ import annotations

import time
from typing import Final

from deploy.local.testing import TestDatabase
from headrace.events import DatasetVersionCreated
from headrace.runtime.bus import Event, Subscription, Tx
from tests.harness.bus import member, until

DIGEST: Final = "sha256:" + "0" * 64
SINGLE: Final = 300
BACKLOG: Final = 20_000
KEYS: Final = 50


def version(key: int, number: int) -> DatasetVersionCreated:
    return DatasetVersionCreated(
        dataset=f"bench-{key}", version=number, digest=DIGEST, rows=1, segments=1, origin="upload"
    )


async def _handled(moments: list[float], count: int) -> None:
    await until(lambda: len(moments) >= count, what=f"event {count}")


async def test_commit_to_handled(database: TestDatabase, kafka: str) -> None:
    """One event at a time: commit in one service to its handler in another; then a backlog."""
    handled: list[float] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        _ = event, tx
        handled.append(time.perf_counter())

    subscription = Subscription(
        group="orchestrator.events", handlers={DatasetVersionCreated: on_version}
    )
    async with (
        member(database=database, kafka=kafka, service="registry") as registry,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ),
    ):
        waits = []
        for number in range(1, SINGLE + 1):
            async with registry.bus.transaction() as tx:
                tx.emit(version(0, number))
            committed = time.perf_counter()
            await _handled(handled, number)
            waits.append(handled[-1] - committed)
        waits = sorted(waits[20:])
        began = time.perf_counter()
        async with registry.bus.transaction() as tx:
            for number in range(BACKLOG):
                tx.emit(version(number % KEYS, number + 1))
        await until(lambda: len(handled) >= SINGLE + BACKLOG, seconds=60)
        seconds = handled[-1] - began

    print(
        f"\nbus: commit -> handled p50 {waits[len(waits) // 2] * 1e3:.1f} ms, "
        f"p99 {waits[int(len(waits) * 0.99)] * 1e3:.1f} ms (n={len(waits)}); "
        f"{BACKLOG} events emitted, relayed and handled exactly once in {seconds:.1f} s: "
        f"{BACKLOG / seconds:,.0f} a second"
    )
    assert len(handled) == SINGLE + BACKLOG
