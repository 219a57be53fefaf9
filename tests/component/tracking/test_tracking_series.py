"""Long series: what compaction, pages and previews show is what was logged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import numpy as np
import pytest

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.bus import Caller, Tx
from headrace.runtime.db import Connection
from services.tracking.domain.entries import Chain, NewRun, entry_of
from services.tracking.domain.points import Columns
from services.tracking.store import blocks, folding, series, writes
from services.tracking.store.log import append

PROJECT = "default"
BATCHES = 400
SPIKE = 123_456


@pytest.fixture
async def connection(database: TestDatabase) -> AsyncIterator[Connection]:
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
    packages = (db.BUS_MIGRATIONS, "services.tracking.migrations")
    await db.migrate(pool, schema="tracking", packages=packages)
    async with pool.acquire() as taken:
        yield taken
    await pool.close()


def batch(number: int) -> Columns:
    """Points `1000 * number` to before `1000 * (number + 1)` of a long metric, and a short one."""
    steps = np.append(np.arange(1000 * number, 1000 * (number + 1)), number)
    values = np.sin(steps / 1000.0)
    values[steps == SPIKE] = 99.0
    return Columns(
        keys=("long", "short"),
        places=np.append(np.zeros(1000, np.uint32), np.uint32(1)),
        values=values,
        timestamps=steps + 10_000,
        steps=steps,
    )


async def logged_run(connection: Connection) -> str:
    """A run whose writes are folded; the first batch was sent twice, one came late."""
    tx = Tx(connection=connection, caller=Caller.none())
    run_id = uuid4().hex
    await writes.start_run(
        tx, NewRun(run_id=run_id, experiment=0, name="n", start_time=1), project=PROJECT
    )
    order = [*range(7), 0, *range(8, BATCHES), 7]
    for number in order:
        entry = entry_of(run_id, batch(number))
        assert (await append(connection, [entry], project=PROJECT)).outcomes == [None]
        if number % 50 == 7:
            async with connection.transaction():
                await folding.fold_all(tx, [run_id], project=PROJECT)
    return run_id


async def compacted(connection: Connection, run_id: str) -> int:
    """Compact until there is nothing to do; returns the number of chunks that are left."""
    while run_id in await blocks.runs_to_compact(connection):
        async with connection.transaction():
            assert await blocks.compact(connection, run_id=run_id)
    return int(await connection.fetchval("select count(*) from metric_chunk where level = 1"))


async def test_compaction_keeps_every_point_once(connection: Connection) -> None:
    run_id = await logged_run(connection)
    assert await compacted(connection, run_id) < 40
    long = await series.history(connection, run_id=run_id, key="long")
    assert long.steps.tolist() == list(range(1000 * BATCHES))
    assert long.values[SPIKE] == 99.0
    short = await series.history(connection, run_id=run_id, key="short")
    assert short.steps.tolist() == list(range(BATCHES))


async def test_pages_of_a_compacted_history_are_the_history(connection: Connection) -> None:
    run_id = await logged_run(connection)
    await compacted(connection, run_id)
    found: list[int] = []
    more = True
    while more:
        page = await series.page(
            connection, run_id=run_id, key="long", start=len(found), limit=70_000
        )
        found.extend(page.columns.steps.tolist())
        more = page.more
    assert found == list(range(1000 * BATCHES))


async def test_from_afar_both_ends_and_every_spike_are_seen(connection: Connection) -> None:
    run_id = await logged_run(connection)
    await compacted(connection, run_id)
    drawn = await series.series(connection, run_id=run_id, key="long")
    assert len(drawn) < 40_000
    assert (drawn.steps[0], drawn.steps[-1]) == (0, 1000 * BATCHES - 1)
    assert drawn.values.max() == 99.0
    assert (np.diff(drawn.steps) > 0).all()


async def test_close_up_every_point_of_the_interval_is_seen(connection: Connection) -> None:
    run_id = await logged_run(connection)
    await compacted(connection, run_id)
    drawn = await series.series(connection, run_id=run_id, key="long", steps=(SPIKE, SPIKE + 500))
    assert drawn.steps.tolist() == list(range(SPIKE, SPIKE + 501))


async def test_what_the_log_still_points_to_is_not_compacted(connection: Connection) -> None:
    run_id = await logged_run(connection)
    assert (await append(connection, [entry_of(run_id, batch(BATCHES))], project=PROJECT)).points
    await compacted(connection, run_id)
    tx = Tx(connection=connection, caller=Caller.none())
    async with connection.transaction():
        await folding.fold_all(tx, [run_id], project=PROJECT)
    count = await connection.fetchval("select points from metric_summary where key = 'long'")
    assert count == 1000 * (BATCHES + 1)


async def test_two_entries_with_the_same_points_are_not_each_a_repetition_of_the_other(
    connection: Connection,
) -> None:
    tx = Tx(connection=connection, caller=Caller.none())
    run_id = uuid4().hex
    await writes.start_run(
        tx, NewRun(run_id=run_id, experiment=0, name="n", start_time=1), project=PROJECT
    )
    await append(connection, [entry_of(run_id, batch(9))], project=PROJECT)
    async with connection.transaction():
        await folding.fold_all(tx, [run_id], project=PROJECT)
    for number, turn in ((5, "a"), (3, "a"), (3, "b"), (2, "b"), (3, "c")):
        columns = batch(number).between(0, 1000 - ord(turn))
        entry = entry_of(run_id, columns, chain=Chain(correlation_id=turn))
        await append(connection, [entry], project=PROJECT)
    async with connection.transaction():
        await folding.fold_all(tx, [run_id], project=PROJECT)
    history = await series.history(connection, run_id=run_id, key="long")
    assert len(history) == 1000 + sum(1000 - ord(turn) for turn in "aab")
    count = await connection.fetchval("select points from metric_summary where key = 'long'")
    assert count == len(history)
