"""Aggregates of the metrics of runs, over groups of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.search import Field
from services.tracking.store.run_conditions import (
    TABLES,
    RunTerms,
    Scope,
    attribute_column,
    metric_column,
)
from services.tracking.store.sql import fresh_plans, select

_WITHIN: Final = "1e150"
"""Beyond it the squares of a deviation leave the range of a double."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregate:
    """Of the runs of a group that have a finite value: how many, and what their values are.

    `std` is the sample's standard deviation, None for fewer than two.
    """

    count: int
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Runs that agree in `values`, None for what they lack; one aggregate a measure."""

    values: Sequence[str | None]
    runs: int
    aggregates: Sequence[Aggregate]


async def aggregate_runs(
    connection: Connection,
    scope: Scope,
    *,
    groups: Sequence[Field],
    measures: Sequence[Field],
    limit: int,
) -> list[Group]:
    """The biggest groups of the runs searched. The connection must not be in a transaction."""
    terms = RunTerms(scope)
    source = ["run"]
    keys = [_group(terms, source, place, field) for place, field in enumerate(groups)]
    columns = [*keys, "count(*)"]
    for place, field in enumerate(measures):
        columns += _aggregates(_measured(terms, source, place, field))
    sql = select(
        ", ".join(columns),
        " ".join(source),
        where=[terms.chosen()],
        group_by=[str(place + 1) for place in range(len(keys))],
        order_by=["count(*) desc", *(str(place + 1) for place in range(len(keys)))],
        limit=terms.arguments.bind(limit, "bigint"),
    )
    async with fresh_plans(connection):
        rows = await connection.fetch(sql, *terms.arguments.values)
    return [_group_of(row, keys=len(keys)) for row in rows if row[len(keys)]]


def _group(terms: RunTerms, source: list[str], place: int, field: Field) -> str:
    if field.entity == "attribute":
        return attribute_column(field)
    return f"{_joined(terms, source, f'grouped_{place}', field)}.value"


def _measured(terms: RunTerms, source: list[str], place: int, field: Field) -> str:
    column = metric_column(_joined(terms, source, f"measured_{place}", field), field)
    return f"case when abs({column}) < {_WITHIN} then {column} end"


def _joined(terms: RunTerms, source: list[str], alias: str, field: Field) -> str:
    source.append(
        f"left join {TABLES[field.entity]} as {alias} on {alias}.run_id = run.run_id"
        f" and {terms.owned(alias, field)}"
    )
    return alias


def _aggregates(column: str) -> list[str]:
    return [f"{name}({column})" for name in ("count", "avg", "stddev_samp", "min", "max")]


def _group_of(row: asyncpg.Record, *, keys: int) -> Group:
    columns = list(row)
    measured = columns[keys + 1 :]
    return Group(
        values=columns[:keys],
        runs=columns[keys],
        aggregates=[
            Aggregate(count=count, mean=mean, std=std, minimum=minimum, maximum=maximum)
            for count, mean, std, minimum, maximum in (
                measured[start : start + 5] for start in range(0, len(measured), 5)
            )
        ],
    )
