"""What SQL finds is what the language says, page by page."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local import Backends
from deploy.local.testing import create_database, drop_database
from headrace.errors import InvalidInput
from headrace.runtime import db
from headrace.runtime.db import Connection
from services.tracking.domain.search import (
    RUNS,
    STATISTICS,
    Condition,
    Order,
    Position,
    clauses_of,
    parse_filter,
    parse_order,
    position_of,
    token_of,
)
from services.tracking.store.run_conditions import Scope
from services.tracking.store.search import find_runs
from tests.harness.searched_runs import KEYS, NUMBERS, TEXTS, matching, some_runs, store_runs

HOME = 7
RUNS_THERE = some_runs(60, seed=5)
PACKAGES = (db.BUS_MIGRATIONS, "services.tracking.migrations")
Ask = Callable[[Callable[[Connection], Coroutine[None, None, list[str]]]], list[str]]


@pytest.fixture(scope="module")
def ask(backends: Backends) -> Iterator[Ask]:
    """Runs a question on a connection to a database that holds the runs."""
    with asyncio.Runner() as runner:
        database = runner.run(create_database(backends))

        async def prepared() -> Connection:
            pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
            await db.migrate(pool, schema="tracking", packages=PACKAGES)
            await pool.close()
            connection = await db.connect(database.url("tracking"), schema="tracking")
            await store_runs(connection, RUNS_THERE, home=HOME)
            await store_runs(connection, some_runs(20, seed=6), home=HOME + 1)
            return connection

        connection = runner.run(prepared())
        yield lambda question: runner.run(question(connection))
        runner.run(connection.close())
        runner.run(drop_database(database))


def scope(condition: Condition) -> Scope:
    return Scope(project="default", experiments=[HOME], stages=["active"], condition=condition)


async def all_pages(
    connection: Connection, condition: Condition, orders: list[Order], limit: int
) -> list[str]:
    """Page after page, each asked for by the token of the one before."""
    found: list[str] = []
    position: Position = 0
    while True:
        page = await find_runs(
            connection, scope(condition), orders=orders, limit=limit, position=position
        )
        found += page.run_ids
        if page.following is None:
            return found
        assert len(page.run_ids) == limit
        position = position_of(token_of(page.following), orders)


def quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


KEY = st.sampled_from(KEYS).map(lambda key: f"`{key}`")
NUMBER = st.sampled_from([str(number) for number in NUMBERS])
TEXT = st.sampled_from([quoted(text) for text in TEXTS])
PATTERN = st.sampled_from(["'%'", "'a_c'", "'a%C'", "'a\\c'", "'%5%'", "'x%y'", "''", "'A\\%'"])
NUMERIC = st.sampled_from(["=", "!=", ">", ">=", "<", "<="])
METRIC = st.one_of(
    KEY.map(lambda key: f"metrics.{key}"),
    st.tuples(st.sampled_from(STATISTICS), KEY).map(lambda pair: f"metrics.{pair[0]}({pair[1]})"),
)
KEYED = st.tuples(st.sampled_from(["params", "tags"]), KEY).map(".".join)
TIMES = st.sampled_from(["start_time", "attributes.end_time", "attributes.duration"])
NAMES = st.sampled_from(["run_name", "user_id", "status", "artifact_uri", "dataset.context"])


def listed(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    lists = st.lists(values, min_size=1, max_size=3)
    return st.tuples(st.sampled_from(["IN", "NOT IN"]), lists).map(
        lambda pair: f"{pair[0]} ({', '.join(pair[1])})"
    )


def phrases(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(" ".join)


CLAUSES = st.one_of(
    phrases(METRIC, NUMERIC, NUMBER),
    phrases(METRIC, listed(NUMBER)),
    phrases(TIMES, NUMERIC, st.sampled_from(["0", "1", "2", "2.5"])),
    phrases(TIMES, listed(st.sampled_from(["0", "1", "2.5"]))),
    phrases(KEYED, st.sampled_from(["=", "!="]), TEXT),
    phrases(st.one_of(KEYED, NAMES), st.sampled_from(["LIKE", "ilike"]), PATTERN),
    phrases(KEYED, st.sampled_from(["IS NULL", "is not null"])),
    phrases(KEY.map(lambda key: f"params.{key}"), st.sampled_from([">", "<="]), NUMBER),
    phrases(KEY.map(lambda key: f"params.{key}"), listed(NUMBER)),
    phrases(NAMES, st.sampled_from(["=", "!="]), TEXT),
    phrases(st.just("dataset.name"), listed(st.sampled_from(["'train'", "'none'"]))),
)
FILTERS = st.recursive(
    CLAUSES,
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.tuples(inner, st.sampled_from([" AND ", " or "]), inner).map(
            lambda parts: f"({parts[0]}){parts[1]}({parts[2]})"
        ),
    ),
    max_leaves=6,
)
ORDERS = st.lists(
    st.tuples(
        st.one_of(METRIC, KEYED, TIMES, st.sampled_from(["run_name", "status", "run_id"])),
        st.sampled_from([" ASC", " desc", ""]),
    ).map("".join),
    max_size=2,
    unique_by=lambda order: parse_order([order], RUNS)[0].field,
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=st.one_of(st.just(""), FILTERS), written=ORDERS, limit=st.integers(9, 70))
def test_a_search_finds_what_the_language_says(
    ask: Ask, text: str, written: list[str], limit: int
) -> None:
    condition, orders = parse_filter(text, RUNS), parse_order(written, RUNS)
    found = ask(lambda connection: all_pages(connection, condition, orders, limit))
    assert found == matching(RUNS_THERE, condition, orders)


ANY_FILTER = st.one_of(st.text(), FILTERS, st.tuples(FILTERS, st.text()).map("".join))


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=ANY_FILTER, order=st.one_of(METRIC, KEYED, st.text()))
def test_no_text_of_a_search_reaches_the_statement(ask: Ask, text: str, order: str) -> None:
    mark = "m4rk"
    with contextlib.suppress(InvalidInput):
        condition = parse_filter(f"({text}) AND tags.{mark} = '{mark}'", RUNS)
        orders = parse_order([order, f"params.{mark}"], RUNS)
        values = [clause.field.key for clause in clauses_of(condition)]
        assert mark in values
        asked: list[str] = []

        async def question(connection: Connection) -> list[str]:
            with connection.query_logger(lambda record: asked.append(record.query)):
                page = await find_runs(connection, scope(condition), orders=orders, limit=5)
            return page.run_ids

        ask(question)
        assert asked
        assert not any(mark in statement for statement in asked)
