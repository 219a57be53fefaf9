"""Conditions as parameterised SQL: no text of a user ever becomes part of a statement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, assert_never

from headrace.runtime.db import Connection
from services.tracking.domain.search import AllOf, AnyOf, Clause, Condition, Not, Order
from services.tracking.domain.search.conditions import Value

OPERATORS: Final = {
    "=": "=",
    "!=": "<>",
    ">": ">",
    ">=": ">=",
    "<": "<",
    "<=": "<=",
    "LIKE": "like",
    "ILIKE": "ilike",
}
_OWNERS: Final = {
    "evaluation_dataset_tag": "dataset_id",
    "experiment_tag": "experiment_id",
    "logged_model_param": "model_id",
    "logged_model_tag": "model_id",
}
_FRESH: Final = (
    "begin isolation level repeatable read read only;"
    "set local plan_cache_mode = force_custom_plan;"
    "set local max_parallel_workers_per_gather = 0;"
    "set local enable_memoize = off;"
    "set local jit = off"
)
"""A page is little work: workers, compiling, and remembering runs that come once cost more."""


class Arguments:
    """The values of a statement under construction."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def bind(self, value: object, kind: str | None = None) -> str:
        """The placeholder of a value, of an SQL type where its place does not tell it."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}" if kind else f"${len(self.values)}"

    def compare(self, column: str, operator: str, value: Value) -> str:
        """A column compared with a value: text, number, or several of either.

        `column` is null where there is nothing to compare, and so is the comparison then.
        """
        if isinstance(value, tuple):
            listed = f"{column} = any({self.bind(list(value), f'{_kind(*value)}[]')})"
            return listed if operator == "IN" else f"not ({listed})"
        ending = " escape ''" if operator in ("LIKE", "ILIKE") else ""
        kind = "text" if value is None else _kind(value)
        return f"{column} {OPERATORS[operator]} {self.bind(value, kind)}{ending}"


def select(
    columns: str,
    source: str,
    *,
    where: Sequence[str],
    group_by: Sequence[str] = (),
    order_by: Sequence[str] = (),
    limit: str | None = None,
    offset: str | None = None,
) -> str:
    """A statement of parts that hold placeholders, never values; all of `where` must hold."""
    parts = ["select", columns, "from", source, "where", " and ".join(where)]
    if group_by:
        parts += ["group by", ", ".join(group_by)]
    if order_by:
        parts += ["order by", ", ".join(order_by)]
    if limit is not None:
        parts += ["limit", limit]
    if offset is not None:
        parts += ["offset", offset]
    return " ".join(parts)


def conditioned(condition: Condition, leaf: Callable[[Clause], str]) -> str:
    """A condition as SQL. A leaf must be true or false, never null, so that NOT means no."""
    match condition:
        case Clause():
            return leaf(condition)
        case Not():
            return f"not ({conditioned(condition.of, leaf)})"
        case AllOf():
            return " and ".join(f"({conditioned(one, leaf)})" for one in condition.of) or "true"
        case AnyOf():
            return " or ".join(f"({conditioned(one, leaf)})" for one in condition.of) or "false"
        case _:
            assert_never(condition)


def keyed(arguments: Arguments, clause: Clause, *, table: str, owner: str) -> str:
    """A condition on a row (key, value) of `table` that belongs to `owner`."""
    has = f"select from {table} where {table}.{_OWNERS[table]} = {owner}"
    of_key = f"{has} and {table}.key = {arguments.bind(clause.field.key, 'text')}"
    if clause.operator == "IS NULL":
        return f"not exists ({of_key})"
    if clause.operator == "IS NOT NULL":
        return f"exists ({of_key})"
    column = f"{table}.value" if is_text(clause.value) else f"number_of({table}.value)"
    return f"exists ({of_key} and {arguments.compare(column, clause.operator, clause.value)})"


def measured(arguments: Arguments, column: str, clause: Clause) -> str:
    """A metric's column compared; NaN satisfies `!=` and NOT IN alone."""
    compared = arguments.compare(column, clause.operator, clause.value)
    # PostgreSQL has NaN above all numbers; written as a range, an index can use the bound.
    return f"{compared} and {column} < 'NaN'" if clause.operator in (">", ">=") else compared


def is_text(value: Value) -> bool:
    """Whether a comparison is one of texts."""
    return isinstance(value[0] if isinstance(value, tuple) else value, str)


def direction(order: Order) -> str:
    """`asc` or `desc`, what is missing last."""
    return "asc nulls last" if order.ascending else "desc nulls last"


@asynccontextmanager
async def fresh_plans(connection: Connection) -> AsyncIterator[None]:
    """Statements of one snapshot, planned for their values: how many rows match decides much.

    The connection must not be in a transaction.
    """
    await connection.execute(_FRESH)
    try:
        yield
    finally:
        await connection.execute("rollback")


def _kind(*values: str | float) -> str:
    if isinstance(values[0], str):
        return "text"
    return "bigint" if all(isinstance(value, int) for value in values) else "double precision"
