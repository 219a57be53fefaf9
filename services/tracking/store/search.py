"""Search for runs: which runs make a page, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.search import After, Field, Order, Position, place_order
from services.tracking.store.run_conditions import (
    NULLABLE,
    TABLES,
    RunTerms,
    Scope,
    attribute_column,
    metric_column,
)
from services.tracking.store.sql import direction, fresh_plans, select

_START: Final = Field(entity="attribute", key="start_time", numeric=True)
Rank = Literal["numbers", "nans", "texts", "missing"]
_RANKS: Final[dict[str, tuple[Rank, ...]]] = {
    "metric": ("numbers", "nans", "missing"),
    "parameter": ("texts", "missing"),
    "tag": ("texts", "missing"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Runs in order, and where the next page begins if there is one."""

    run_ids: list[str]
    following: Position | None = None


@dataclass(kw_only=True, slots=True)
class _Statement:
    terms: RunTerms
    source: str = "run"
    conditions: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    value: str = "null"
    joins: int = 0


async def find_runs(
    connection: Connection,
    scope: Scope,
    *,
    orders: Sequence[Order],
    limit: int,
    position: Position = 0,
) -> Page:
    """The runs of a page; ties by latest start, then by id.

    Of metrics numbers come before NaN before runs without it, in both directions; of everything
    else what is missing comes last. The connection must not be in a transaction.
    """
    if not scope.experiments:
        return Page(run_ids=[])
    async with fresh_plans(connection):
        if orders and orders[0].field.entity != "attribute":
            offset = position if isinstance(position, int) else 0
            return await _ranked(connection, scope, orders=orders, limit=limit, offset=offset)
        return await _placed(connection, scope, orders=orders, limit=limit, position=position)


async def _placed(
    connection: Connection,
    scope: Scope,
    *,
    orders: Sequence[Order],
    limit: int,
    position: Position,
) -> Page:
    statement = _Statement(terms=RunTerms(scope))
    for order in orders:
        _add_order(statement, order)
    name = place_order(orders)
    if name is not None and orders:
        statement.value = attribute_column(orders[0].field)
    if isinstance(position, After):
        _start_behind(statement, position, orders)
    offset = position if isinstance(position, int) else 0
    rows = await _fetch(connection, statement, orders=orders, limit=limit + 1, offset=offset)
    run_ids = [row["run_id"] for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(run_ids=run_ids)
    if name is None:
        return Page(run_ids=run_ids, following=offset + limit)
    run_id, start_time, value = rows[limit - 1]
    place = After(order=name, value=value, start_time=start_time, run_id=run_id)
    return Page(run_ids=run_ids, following=place)


async def _ranked(
    connection: Connection, scope: Scope, *, orders: Sequence[Order], limit: int, offset: int
) -> Page:
    """Rank after rank until the page is full: each of them can be read in an index's order."""
    found: list[str] = []
    following = offset + limit
    wanted = limit + 1
    for rank in _RANKS[orders[0].field.entity]:
        statement = _rank_statement(scope, orders, rank)
        rows = await _fetch(
            connection, statement, orders=orders, limit=wanted - len(found), offset=offset
        )
        found += [row["run_id"] for row in rows]
        if len(found) == wanted:
            return Page(run_ids=found[:limit], following=following)
        if offset:
            whole = _rank_statement(scope, orders[:1], rank)
            offset = 0 if rows else offset - await _count(connection, whole)
    return Page(run_ids=found)


def _rank_statement(scope: Scope, orders: Sequence[Order], rank: Rank) -> _Statement:
    first = orders[0]
    statement = _Statement(terms=RunTerms(scope))
    owned = f"{TABLES[first.field.entity]} as ranked"
    of_key = statement.terms.owned("ranked", first.field)
    if first.field.entity == "metric":
        column = metric_column("ranked", first.field)
    else:
        column = "ranked.head"
    if rank == "missing":
        statement.conditions.append(
            f"not exists (select from {owned} where ranked.run_id = run.run_id and {of_key}"
            f" and {column} is not null)"
        )
    else:
        statement.source = f"{owned} join run on run.run_id = ranked.run_id"
        statement.conditions.append(of_key)
    way = "asc" if first.ascending else "desc"
    if rank == "numbers":
        statement.conditions.append(f"{column} < 'NaN'")
        statement.orders.append(f"{column} {way}")
    elif rank == "nans":
        statement.conditions.append(f"{column} = 'NaN'")
    elif rank == "texts":
        statement.orders += [f"ranked.head {way}", f'ranked.value collate "C" {way}']
    for order in orders[1:]:
        _add_order(statement, order)
    return statement


def _add_order(statement: _Statement, order: Order) -> None:
    entity = order.field.entity
    if entity == "attribute":
        statement.orders.append(_attribute_order(order))
        return
    statement.joins += 1
    alias = f"sorted_{statement.joins}"
    statement.source += (
        f" left join {TABLES[entity]} as {alias} on {alias}.run_id = run.run_id"
        f" and {statement.terms.owned(alias, order.field)}"
    )
    if entity == "metric":
        column = metric_column(alias, order.field)
        statement.orders.append(
            f"case when {column} is null then 2 when {column} = 'NaN' then 1 else 0 end"
        )
        statement.orders.append(f"{column} {direction(order)}")
    else:
        statement.orders.append(f'{alias}.value collate "C" {direction(order)}')


def _attribute_order(order: Order) -> str:
    column = attribute_column(order.field)
    if order.field.key in NULLABLE:
        return f"{column} {direction(order)}"
    return f"{column} {'asc' if order.ascending else 'desc'}"


def _start_behind(statement: _Statement, after: After, orders: Sequence[Order]) -> None:
    bind = statement.terms.arguments.bind
    tie = f"run.run_id > {bind(after.run_id, 'text')}"
    order = orders[0] if orders else Order(field=_START, ascending=False)
    value: str | int | None = after.value if orders else after.start_time
    if order.field != _START:
        start = bind(after.start_time, "bigint")
        tie = f"(run.start_time < {start} or (run.start_time = {start} and {tie}))"
    column = f"({attribute_column(order.field)})"
    if value is None:
        statement.conditions += [f"{column} is null", tie]
        return
    way = ">" if order.ascending else "<"
    bound = bind(value, "bigint" if isinstance(value, int) else "text")
    behind = f"({column} {way} {bound} or ({column} = {bound} and {tie}))"
    if order.field.key in NULLABLE:
        statement.conditions.append(f"({behind} or {column} is null)")
    else:
        # The bound alone is what an index can begin at.
        statement.conditions += [f"{column} {way}= {bound}", behind]


async def _fetch(
    connection: Connection,
    statement: _Statement,
    *,
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[asyncpg.Record]:
    ties = ["run.run_id"]
    if not any(order.field == _START for order in orders):
        ties.insert(0, "run.start_time desc")
    terms = statement.terms
    sql = select(
        f"run.run_id, run.start_time, {statement.value} as value",
        statement.source,
        where=[terms.chosen(), *statement.conditions],
        order_by=[*statement.orders, *ties],
        limit=terms.arguments.bind(limit, "bigint"),
        offset=terms.arguments.bind(offset, "bigint") if offset else None,
    )
    rows: list[asyncpg.Record] = await connection.fetch(sql, *terms.arguments.values)
    return rows


async def _count(connection: Connection, statement: _Statement) -> int:
    conditions = [statement.terms.chosen(), *statement.conditions]
    sql = select("count(*)", statement.source, where=conditions)
    count: int = await connection.fetchval(sql, *statement.terms.arguments.values)
    return count
