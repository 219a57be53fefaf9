"""Searches among many runs read parts of indexes, in their order, and stop when a page is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from deploy.local import Backends
from deploy.local.testing import TestDatabase, create_database, drop_database
from headrace.runtime import db
from services.tracking.domain.search import RUNS, Position, parse_filter, parse_order
from services.tracking.store.run_conditions import Scope
from services.tracking.store.search import find_runs
from tests.harness.seeded_runs import EXPERIMENT, seed

TABLES = ("param", "tag", "metric_summary")
PACKAGES = (db.BUS_MIGRATIONS, "services.tracking.migrations")


@pytest.fixture(scope="module")
def many_runs(backends: Backends) -> Iterator[TestDatabase]:
    """A database with two thousand runs."""
    database = asyncio.run(create_database(backends))
    asyncio.run(fill(database))
    yield database
    asyncio.run(drop_database(database))


async def fill(database: TestDatabase) -> None:
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
    await db.migrate(pool, schema="tracking", packages=PACKAGES)
    async with pool.acquire() as connection:
        await seed(connection, runs=2000)
    await pool.close()


@pytest.fixture
async def seeded(many_runs: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection to that database."""
    connection = await db.connect(many_runs.url("tracking"), schema="tracking")
    yield connection
    await connection.close()


async def plans(
    connection: asyncpg.Connection, text: str, order_by: list[str], position: Position = 0
) -> str:
    """How the statements of a search are carried out."""
    scope = Scope(
        project="default",
        experiments=[EXPERIMENT],
        stages=["active"],
        condition=parse_filter(text, RUNS),
    )
    asked: list[tuple[str, tuple[object, ...]]] = []
    with connection.query_logger(lambda record: asked.append((record.query, record.args))):
        orders = parse_order(order_by, RUNS)
        page = await find_runs(connection, scope, orders=orders, limit=20, position=position)
        assert len(page.run_ids) == 20
    found = []
    for statement, arguments in asked:
        if statement.startswith("select"):
            rows = await connection.fetch(f"explain {statement}", *arguments)
            found.append("\n".join(row[0] for row in rows))
    return "\n\n".join(found)


@pytest.mark.parametrize(
    ("text", "order_by", "read"),
    [
        ("", [], "Index Only Scan using run_by_start on run"),
        ("", ["metrics.m1 DESC"], "Index Only Scan Backward using metric_search"),
        ("params.p7 = 'choice-1'", ["metrics.m1"], "Index Only Scan using metric_search"),
        ("metrics.m2 < 0.02", ["start_time"], "Index Only Scan using metric_search"),
        ("tags.t3 = 'team-3'", ["params.p1 ASC"], "Scan using param_search"),
        ("params.p1 > 0.5", ["metrics.m1 DESC"], "using metric_search"),
        ("NOT params.p7 = 'choice-1'", ["metrics.m1"], "Index Only Scan using metric_search"),
        ("tags.t3 = 'team-3' OR metrics.m4 > 0.9", ["metrics.m1"], "using metric_search"),
    ],
)
async def test_a_page_is_read_from_indexes(
    seeded: asyncpg.Connection, text: str, order_by: list[str], read: str
) -> None:
    plan = await plans(seeded, text, order_by)
    assert read in plan, plan
    assert not any(f"Seq Scan on {table} " in plan for table in TABLES), plan


async def test_a_deep_page_begins_in_the_index_where_the_one_before_ended(
    seeded: asyncpg.Connection,
) -> None:
    scope = Scope(
        project="default",
        experiments=[EXPERIMENT],
        stages=["active"],
        condition=parse_filter("", RUNS),
    )
    page = await find_runs(seeded, scope, orders=[], limit=1500)
    assert page.following is not None
    plan = await plans(seeded, "", [], page.following)
    conditions = [line for line in plan.splitlines() if "Index Cond" in line]
    assert any("start_time <= " in condition for condition in conditions), plan
