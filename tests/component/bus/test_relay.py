"""One leader publishes, and is succeeded whatever becomes of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from functools import partial

from prometheus_client import Counter

from deploy.local.testing import TestDatabase
from headrace.events import DatasetVersionCreated
from headrace.runtime import db
from headrace.runtime.bus import Event, Subscription, Tx
from headrace.runtime.bus.postgres import Postgres
from tests.component.bus.test_effects import GROUP, version
from tests.harness.bus import member, skip_history, until

LEADER = """
import asyncio, sys
from headrace.runtime import db
from headrace.runtime.bus import open_bus
from headrace.runtime.telemetry import Metrics, configure_logs

async def main():
    url, kafka = sys.argv[1:]
    pool = await db.open_pool(url, schema="registry", size=2)
    bus = open_bus(service="registry", instance=0, kafka=kafka, database_url=url, pool=pool,
                   metrics=Metrics(), log=configure_logs(service="registry", level="warning"))
    running = asyncio.create_task(bus.run())
    while not bus.leading:
        await asyncio.sleep(0.01)
    print("leading", flush=True)
    await running

asyncio.run(main())
"""


async def test_a_leader_that_is_stopped_and_not_dead_is_succeeded_within_two_seconds(
    database: TestDatabase, kafka: str
) -> None:
    got: list[int] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        if event.data.dataset == "succeeded":
            got.append(event.data.version)

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    await skip_history(database=database, kafka=kafka, service="registry")
    leader = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
        [sys.executable, "-c", LEADER, database.url("registry"), kafka], stdout=subprocess.PIPE
    )
    try:
        assert leader.stdout is not None
        assert await asyncio.to_thread(leader.stdout.readline) == b"leading\n"
        async with (
            member(database=database, kafka=kafka, service="registry", instance=1) as registry,
            member(
                database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
            ) as orchestrator,
        ):
            lanes = orchestrator.bus.consumers[0]
            await until(lambda: len(lanes.lanes) == 12, what="the assignment")
            async with registry.bus.transaction() as tx:
                tx.emit(version("succeeded", 1))
            await until(lambda: got == [1], what="an event of the first leader")
            leader.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            async with registry.bus.transaction() as tx:
                tx.emit(version("succeeded", 2))
            await until(lambda: got == [1, 2], what="an event of the second leader")
            seconds = time.monotonic() - stopped
            leader.send_signal(signal.SIGCONT)
            async with registry.bus.transaction() as tx:
                tx.emit(version("succeeded", 3))
            await until(lambda: 3 in got, what="an event beside a zombie")
    finally:
        leader.kill()
        leader.communicate()

    assert got == [1, 2, 3]
    assert seconds < 2.5, f"succession took {seconds:.2f} s"


async def test_a_commit_wakes_a_leader_in_another_process(
    database: TestDatabase, kafka: str
) -> None:
    """Sooner than the leader looks by itself."""
    async with (
        member(database=database, kafka=kafka, service="registry") as leader,
        member(database=database, kafka=kafka, service="registry", instance=1) as other,
    ):
        await until(lambda: leader.bus.leading or other.bus.leading, what="a leader")
        follower, leads = (other, leader) if leader.bus.leading else (leader, other)
        sent = leads.metrics.sent.labels("registry.dataset.events.v1")
        for number in range(1, 6):
            async with follower.bus.transaction() as tx:
                tx.emit(version("woken", number))
            began = time.monotonic()
            await until(partial(_at_least, sent, number), what="the event")
            assert time.monotonic() - began < 5

    assert sent._value.get() == 5


async def test_rows_that_commit_late_are_published_too(database: TestDatabase, kafka: str) -> None:
    """A lower row that commits after a higher one was published is not stepped over."""
    async with member(database=database, kafka=kafka, service="registry") as registry:
        sent = registry.metrics.sent.labels("registry.dataset.events.v1")
        async with registry.bus.transaction() as slow:
            slow.emit(version("late", 1))
            await _insert_now(slow)
            async with registry.bus.transaction() as quick:
                quick.emit(version("early", 1))
            await until(lambda: sent._value.get() == 1, what="the higher row")
        await until(lambda: sent._value.get() == 2, what="the lower row")


async def test_numbers_go_on_where_an_unfinished_batch_ended(
    database: TestDatabase, kafka: str
) -> None:
    async with member(database=database, kafka=kafka, service="registry", relay=False) as registry:
        postgres = Postgres(pool=registry.pool, url=database.url("registry"), service="registry")
        async with registry.bus.transaction() as tx:
            for number in range(1, 6):
                tx.emit(version("numbers", number))
        async with postgres.relay_session(_nobody) as session:
            assert await session.lead()
            first = await session.turn([], limit=2)
            second = await session.turn([], limit=2)
        assert first is not None
        assert second is not None
        async with postgres.relay_session(_nobody) as session:
            assert await session.lead()
            assert await session.unfinished() == [first, second]
            third = await session.turn([first, second], limit=2)
        left = await registry.pool.fetchval("select count(*) from outbox")

    assert third is not None
    assert [first.first, second.first, third.first] == [1, 3, 5]
    assert [len(batch.rows) for batch in (first, second, third)] == [2, 2, 1]
    assert left == 1


async def test_only_one_session_leads(database: TestDatabase, kafka: str) -> None:
    _ = kafka
    url = database.url("registry")
    pool = await db.open_pool(url, schema="registry", size=1)
    await db.migrate(pool, schema="registry", packages=(db.BUS_MIGRATIONS,))
    postgres = Postgres(pool=pool, url=url, service="registry")
    async with postgres.relay_session(_nobody) as one, postgres.relay_session(_nobody) as two:
        assert await one.lead()
        assert not await two.lead()
    await pool.close()


def _at_least(counter: Counter, wanted: int) -> bool:
    return bool(counter._value.get() >= wanted)


def _nobody() -> None:
    """Nobody waits to be told."""


async def _insert_now(tx: Tx) -> None:
    """Take a row's number now and commit later."""
    (event,) = tx.outgoing
    await tx.connection.execute(
        "insert into outbox (id, aggregatetype, aggregateid, type, payload, headers)"
        " values ($1, $2, $3, $4, $5, $6)",
        event.id,
        event.topic,
        event.key,
        event.type,
        event.payload,
        dict(event.headers),
    )
    tx.outgoing.clear()
