"""Search for traces: columns by SQL, spans by looking into the blocks of what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final, assert_never

import asyncpg
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.runtime.db import Connection
from services.tracking.domain.traces.blocks import spans_of
from services.tracking.domain.traces.entities import Trace
from services.tracking.domain.traces.matching import Regexes, regex_texts, some_span
from services.tracking.domain.traces.search import (
    AllOf,
    AnyOf,
    Clause,
    Condition,
    Not,
    OneSpan,
    Order,
    spans_asked,
)
from services.tracking.store.sql import Arguments
from services.tracking.store.traces.conditions import clause_sql, order_sql, relaxed
from services.tracking.store.traces.reads import COLUMNS, TABLES, get_blocks, with_assessments

MOST_LOOKED_INTO: Final = 5000
"""How many traces' spans one search looks into: what is left is for the next page."""
_CANDIDATES: Final = (200, 400, 800, 1600)
"""How many traces are fetched at a time: few for a page that fills soon, many for one that does
not, since traces that lie in the same blocks are looked into together."""
_BLOCKS_AT_ONCE: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Traces, and where the next page begins; None at the end."""

    traces: Sequence[Trace]
    next_offset: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is searched for, where, and in which order."""

    project: str
    experiments: Sequence[int]
    condition: Condition
    orders: Sequence[Order]


async def search_traces(connection: Connection, asked: Asked, *, limit: int, offset: int) -> Page:
    """A page of traces; without orders the newest first, ties by id.

    A page may hold fewer than asked for, or none, and yet not be the last.
    """
    if not any(spans_asked(asked.condition)):
        rows = await _candidates(connection, asked, limit=limit + 1, offset=offset)
        more = offset + limit if len(rows) > limit else None
        traces = await with_assessments(connection, rows[:limit])
        return Page(traces=traces, next_offset=more)
    return await _search_spans(connection, asked, limit=limit, offset=offset)


async def count_traces(
    connection: Connection, asked: Asked, conditions: Sequence[Condition]
) -> list[int]:
    """How many traces there are, and for how many of them each of the conditions holds as well.

    Conditions ask nothing of spans.
    """
    arguments = Arguments()
    where = _where(asked, arguments)
    counts = [
        f"count(*) filter (where {relaxed(condition, arguments)})" for condition in conditions
    ]
    row = await connection.fetchrow(
        f"select {', '.join(['count(*)', *counts])} from {TABLES} where {where}",  # noqa: S608
        *arguments.values,
    )
    return list(row.values()) if row is not None else []


async def _search_spans(connection: Connection, asked: Asked, *, limit: int, offset: int) -> Page:
    found: list[asyncpg.Record] = []
    start = offset
    sizes = chain(_CANDIDATES, repeat(_CANDIDATES[-1]))
    while start - offset < MOST_LOOKED_INTO:
        size = next(sizes)
        rows = await _candidates(connection, asked, limit=size, offset=start)
        for group in _by_blocks(rows):
            matches = await _matches(connection, asked.condition, group)
            for row, matched in zip(group, matches, strict=True):
                start += 1
                if matched:
                    found.append(row)
                    if len(found) == limit:
                        traces = await with_assessments(connection, found)
                        return Page(traces=traces, next_offset=start)
        if len(rows) < size:
            return Page(traces=await with_assessments(connection, found), next_offset=None)
    return Page(traces=await with_assessments(connection, found), next_offset=start)


async def _candidates(
    connection: Connection, asked: Asked, *, limit: int, offset: int
) -> list[asyncpg.Record]:
    """Traces that may match, and for each clause on columns whether it holds (`holds_<n>`)."""
    arguments = Arguments()
    where = _where(asked, arguments)
    clauses = list(_column_clauses(asked.condition)) if any(spans_asked(asked.condition)) else []
    columns = [
        COLUMNS,
        *(f"{clause_sql(one, arguments)} as holds_{n}" for n, one in enumerate(clauses)),
    ]
    orders = [order_sql(order, arguments) for order in asked.orders]
    if not any(order.field.key == "timestamp_ms" for order in asked.orders):
        orders.append("trace.request_time desc")
    rows: list[asyncpg.Record] = await connection.fetch(
        f"select {', '.join(columns)} from {TABLES} where {where}"  # noqa: S608
        f" order by {', '.join([*orders, 'trace.trace_id'])}"
        f" limit {arguments.bind(limit)} offset {arguments.bind(offset)}",
        *arguments.values,
    )
    return rows


def _where(asked: Asked, arguments: Arguments) -> str:
    if len(asked.experiments) == 1:
        # An equality lets the index give the traces in their usual order, and a page end early.
        place = f"= {arguments.bind(asked.experiments[0])}::bigint"
    else:
        place = f"= any({arguments.bind(list(asked.experiments))}::bigint[])"
    return (
        f"trace.project = {arguments.bind(asked.project)}"
        f" and trace.experiment_id {place} and {relaxed(asked.condition, arguments)}"
    )


def _by_blocks(rows: Sequence[asyncpg.Record]) -> Iterator[list[asyncpg.Record]]:
    """Rows in their order, in groups whose spans lie in a few blocks."""
    group: list[asyncpg.Record] = []
    blocks: set[int] = set()
    for row in rows:
        if group and len(blocks | set(row["blocks"])) > _BLOCKS_AT_ONCE:
            yield group
            group, blocks = [], set()
        group.append(row)
        blocks.update(row["blocks"])
    if group:
        yield group


async def _matches(
    connection: Connection, condition: Condition, rows: Sequence[asyncpg.Record]
) -> list[bool]:
    blocks = sorted({number for row in rows for number in row["blocks"]})
    spans = spans_of(await get_blocks(connection, blocks), {row["trace_id"] for row in rows})
    asked = list(spans_asked(condition))
    regexes = await _find_regexes(
        connection, [one for each in spans.values() for one in each], asked
    )
    places = {id(clause): n for n, clause in enumerate(_column_clauses(condition))}
    return [_holds(condition, row, places, spans.get(row["trace_id"], []), regexes) for row in rows]


async def _find_regexes(
    connection: Connection, spans: Sequence[Span], asked: Sequence[OneSpan]
) -> Regexes:
    """PostgreSQL's regular expressions: an evil one holds up its statement alone."""
    texts: dict[str, set[str]] = {}
    for pattern, text in regex_texts(spans, asked):
        if "\x00" not in text:
            texts.setdefault(pattern, set()).add(text)
    found = {}
    for pattern, candidates in texts.items():
        rows = await connection.fetch(
            "select text from unnest($1::text[]) as given (text) where text ~ $2",
            list(candidates),
            pattern,
        )
        found[pattern] = frozenset(row["text"] for row in rows)
    return found


def _holds(
    condition: Condition,
    row: asyncpg.Record,
    places: Mapping[int, int],
    spans: Sequence[Span],
    regexes: Regexes,
) -> bool:
    if isinstance(condition, Clause):
        return bool(row[f"holds_{places[id(condition)]}"])
    if isinstance(condition, OneSpan):
        return some_span(spans, condition, regexes)
    if isinstance(condition, AllOf):
        return all(_holds(part, row, places, spans, regexes) for part in condition.parts)
    if isinstance(condition, AnyOf):
        return any(_holds(part, row, places, spans, regexes) for part in condition.parts)
    if isinstance(condition, Not):
        return not _holds(condition.part, row, places, spans, regexes)
    assert_never(condition)


def _column_clauses(condition: Condition) -> Iterator[Clause]:
    if isinstance(condition, Clause):
        yield condition
    elif isinstance(condition, (AllOf, AnyOf)):
        for part in condition.parts:
            yield from _column_clauses(part)
    elif isinstance(condition, Not):
        yield from _column_clauses(condition.part)
