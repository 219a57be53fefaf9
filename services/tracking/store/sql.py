"""Search clauses as parameterised SQL: no text of a user ever becomes part of a statement."""

from __future__ import annotations

from typing import Final

from services.tracking.domain.search import Clause, Order

_OPERATORS: Final = {
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
    "experiment_tag": "experiment_id",
    "param": "run_id",
    "tag": "run_id",
    "logged_model_param": "model_id",
    "logged_model_tag": "model_id",
}


class Query:
    """A statement under construction with its arguments."""

    def __init__(self, select: str) -> None:
        self._select = select
        self._joins: list[str] = []
        self._conditions: list[str] = []
        self._orders: list[str] = []
        self._arguments: list[object] = []

    def bind(self, value: object) -> str:
        """The placeholder of a value."""
        self._arguments.append(value)
        return f"${len(self._arguments)}"

    def join(self, sql: str) -> None:
        """Add a join."""
        self._joins.append(sql)

    def where(self, condition: str) -> None:
        """Add a condition; all must hold."""
        self._conditions.append(condition)

    def order_by(self, expression: str) -> None:
        """Add the next, less significant sort expression."""
        self._orders.append(expression)

    def alias(self, stem: str) -> str:
        """A name for the next join."""
        return f"{stem}_{len(self._joins)}"

    def page(self, *, limit: int, offset: int) -> tuple[str, list[object]]:
        """The statement for one page, and its arguments."""
        sql = " ".join(
            (
                self._select,
                *self._joins,
                "where " + " and ".join(self._conditions or ["true"]),
                "order by " + ", ".join(self._orders),
                f"limit {self.bind(limit)} offset {self.bind(offset)}",
            )
        )
        return sql, self._arguments

    def comparison(self, column: str, clause: Clause) -> str:
        """A column compared as the clause says."""
        if clause.operator in ("IN", "NOT IN") and isinstance(clause.value, tuple):
            listed = f"{column} = any({self.bind(list(clause.value))}::text[])"
            return listed if clause.operator == "IN" else f"not ({listed})"
        kind = "text"
        if clause.field.numeric:
            kind = "bigint" if isinstance(clause.value, int) else "double precision"
        ending = " escape ''" if clause.operator in ("LIKE", "ILIKE") else ""
        return f"{column} {_OPERATORS[clause.operator]} {self.bind(clause.value)}::{kind}{ending}"

    def keyed(self, clause: Clause, *, table: str, owner: str) -> str:
        """A condition on a row (key, value) of `table` that belongs to `owner`."""
        has = f"select from {table} where {table}.{_OWNERS[table]} = {owner}"
        of_key = f"{has} and {table}.key = {self.bind(clause.field.key)}"
        if clause.operator == "IS NULL":
            return f"not exists ({of_key})"
        if clause.operator == "IS NOT NULL":
            return f"exists ({of_key})"
        return f"exists ({of_key} and {self.comparison(f'{table}.value', clause)})"


def direction(order: Order) -> str:
    """`asc` or `desc`, what is missing last."""
    return "asc nulls last" if order.ascending else "desc nulls last"
