"""Events of producers that are not our relays take effect once, however often they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from deploy.local.testing import TestDatabase
from headrace.events import DatasetVersionCreated, Envelope, contract_of, encode_headers
from headrace.runtime import db
from headrace.runtime.bus import Event, Subscription, Tx
from headrace.runtime.bus.postgres import inbox
from tests.component.bus.test_effects import GROUP, send, version
from tests.harness.bus import member, until


async def deliver(
    kafka: str,
    data: DatasetVersionCreated,
    *,
    identity: str,
    at: datetime,
    source: str = "/foreign",
) -> None:
    contract = contract_of(data)
    envelope = Envelope(id=identity, source=source, type=contract.type, time=at)
    await send(kafka, data.dataset, contract.encode(data), encode_headers(envelope))


async def test_the_same_source_and_id_take_effect_once_also_in_one_batch_and_after_a_restart(
    database: TestDatabase, kafka: str
) -> None:
    got: list[int] = []

    async def on_versions(events: Sequence[Event[DatasetVersionCreated]], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        got.extend(event.data.version for event in events if event.data.dataset == "foreign")

    subscription = Subscription(group=GROUP, batches={DatasetVersionCreated: on_versions})
    now = datetime.now(UTC)
    old = now - timedelta(days=4000)
    async with member(
        database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
    ) as orchestrator:
        for _ in range(3):
            await deliver(kafka, version("foreign", 1), identity="a", at=now)
            await deliver(kafka, version("foreign", 2), identity="b", at=old)
        await deliver(kafka, version("foreign", 3), identity="a", at=now, source="/another")
        await until(lambda: 3 in got, what="the last event")
        topic = "registry.dataset.events.v1"
        duplicates = orchestrator.metrics.duplicates.labels(GROUP, topic)
        await until(lambda: duplicates._value.get() == 4, what="four duplicates")
    async with member(
        database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
    ):
        await deliver(kafka, version("foreign", 1), identity="a", at=now)
        await deliver(kafka, version("foreign", 4), identity="c", at=now)
        await until(lambda: 4 in got, what="an event after the restart")

    assert got == [1, 2, 3, 4]


async def test_days_are_made_ahead_and_dropped_whole_and_nothing_is_forgotten_on_the_way(
    database: TestDatabase,
) -> None:
    pool = await db.open_pool(database.url("registry"), schema="registry", size=1)
    await db.migrate(pool, schema="registry", packages=(db.BUS_MIGRATIONS,))
    today = date(2026, 3, 1)
    ahead = today + timedelta(days=3)
    async with pool.acquire() as connection:
        await inbox.tidy(connection, today)
        added = "insert into inbox (grp, source, id, day) values ('g', '/s', $1, $2)"
        await connection.execute(added, "early bird", ahead)
        await connection.execute(added, "today", today)
        await inbox.tidy(connection, today + timedelta(days=1))
        moved = await connection.fetchval(
            "select count(*) from inbox_20260304 where id='early bird'"
        )
        await inbox.tidy(connection, today + timedelta(days=20))
        left = await connection.fetch("select id from inbox")
    await pool.close()

    assert moved == 1
    assert left == []
