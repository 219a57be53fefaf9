"""Filters for traces as parameterised SQL: no text of a user ever becomes part of a statement.

What is asked of spans lies in compressed blocks, where SQL cannot look. A condition with such
parts is relaxed to one that no match fails, and the rest is decided on the spans.
"""

from __future__ import annotations

from typing import Final, assert_never

from services.tracking.domain.traces.search import (
    AllOf,
    AnyOf,
    Clause,
    Condition,
    Not,
    OneSpan,
    Order,
)
from services.tracking.store.sql import OPERATORS, Arguments

_OPERATORS: Final = {**OPERATORS, "RLIKE": "~"}
_COLUMNS: Final = {
    "request_id": "trace.trace_id",
    "timestamp_ms": "trace.request_time",
    "execution_time_ms": "trace.execution_duration",
    "end_time_ms": "(trace.request_time + coalesce(trace.execution_duration, 0))",
    "status": "trace.state",
    "client_request_id": "trace.client_request_id",
    "name": "trace.name",
    "experiment_id": "trace.experiment_id",
    "run_id": "(trace.metadata ->> 'mlflow.sourceRun')",
}
_ALWAYS_THERE: Final = frozenset({"request_id", "timestamp_ms", "end_time_ms", "status"})
_RUNS: Final = (
    "select trace.metadata ->> 'mlflow.sourceRun' as run_id"
    " union all select run_id from trace_run where trace_run.trace_id = trace.trace_id"
)


def relaxed(condition: Condition, arguments: Arguments, *, positive: bool = True) -> str:
    """SQL that holds wherever the condition may hold (`positive`), or must hold."""
    if isinstance(condition, Clause):
        return clause_sql(condition, arguments)
    if isinstance(condition, OneSpan):
        return "true" if positive else "false"
    if isinstance(condition, AllOf):
        parts = [relaxed(part, arguments, positive=positive) for part in condition.parts]
        return "(" + " and ".join(parts or ["true"]) + ")"
    if isinstance(condition, AnyOf):
        parts = [relaxed(part, arguments, positive=positive) for part in condition.parts]
        return "(" + " or ".join(parts) + ")"
    if isinstance(condition, Not):
        return f"not {relaxed(condition.part, arguments, positive=not positive)}"
    assert_never(condition)


def clause_sql(clause: Clause, arguments: Arguments) -> str:
    """One comparison; false where there is nothing to compare."""
    entity, key = clause.field.entity, clause.field.key
    if entity in ("feedback", "expectation"):
        return _assessment(clause, arguments)
    if entity == "issue":
        return (
            "exists (select from trace_assessment as said where said.trace_id = trace.trace_id"
            f" and said.kind = 'issue' and said.name = {arguments.bind(clause.value)}::text)"
        )
    if entity == "attribute" and key == "prompt":
        return _prompt(clause, arguments)
    if entity == "attribute" and key == "run_id" and clause.operator != "IS NULL":
        compared = _compared("made.run_id", clause, arguments)
        return f"exists (select from ({_RUNS}) as made where {compared})"
    compared = _compared(_column(clause, arguments), clause, arguments)
    if entity == "attribute" and key in _ALWAYS_THERE:
        return f"({compared})"
    return f"(({compared}) is true)"


def order_sql(order: Order, arguments: Arguments) -> str:
    """A sort expression; what is missing comes last."""
    direction = "asc nulls last" if order.ascending else "desc nulls last"
    if order.field.entity == "attribute":
        return f"{_COLUMNS[order.field.key]} {direction}"
    return f"{_member(order.field.entity, order.field.key, arguments)} {direction}"


def _column(clause: Clause, arguments: Arguments) -> str:
    if clause.field.entity == "attribute":
        return _COLUMNS[clause.field.key]
    return _member(clause.field.entity, clause.field.key, arguments)


def _member(entity: str, key: str, arguments: Arguments) -> str:
    column = "trace.tags" if entity == "tag" else "trace.metadata"
    return f"({column} ->> {arguments.bind(key)}::text)"


def _compared(column: str, clause: Clause, arguments: Arguments) -> str:
    operator, value = clause.operator, clause.value
    if operator in ("IS NULL", "IS NOT NULL"):
        return f"{column} {operator.lower()}"
    if isinstance(value, tuple):
        listed = f"{column} = any({arguments.bind(list(value))}::text[])"
        return listed if operator == "IN" else f"not ({listed})"
    kind = "text"
    if clause.field.numeric:
        kind = "bigint" if isinstance(value, int) else "double precision"
    ending = " escape ''" if operator in ("LIKE", "ILIKE") else ""
    return f"{column} {_OPERATORS[operator]} {arguments.bind(value)}::{kind}{ending}"


def _assessment(clause: Clause, arguments: Arguments) -> str:
    """Of a trace's own assessments, or of those that another trace has for its whole session."""
    named = (
        f"said.kind = {arguments.bind(clause.field.entity)}::text"
        f" and said.name = {arguments.bind(clause.field.key)}::text and said.valid"
    )
    if clause.operator not in ("IS NULL", "IS NOT NULL"):
        named += f" and {_value(clause, arguments)}"
    own = f"select said.trace_id from trace_assessment as said where {named}"  # noqa: S608
    sessions = (
        "select sibling.experiment_id, sibling.metadata ->> 'mlflow.trace.session'"  # noqa: S608
        " from trace_assessment as said"
        " join trace as sibling on sibling.trace_id = said.trace_id"
        f" where said.metadata ? 'mlflow.trace.session' and {named}"
    )
    session = "(trace.experiment_id, trace.metadata ->> 'mlflow.trace.session')"
    found = f"(trace.trace_id in ({own}) or ({session} in ({sessions})) is true)"
    return f"not {found}" if clause.operator == "IS NULL" else found


def _value(clause: Clause, arguments: Arguments) -> str:
    if isinstance(clause.value, (int, float)):
        number = "case when jsonb_typeof(said.value) = 'number' then said.value::float8 end"
        bound = arguments.bind(float(clause.value))
        return f"{number} {_OPERATORS[clause.operator]} {bound}::double precision"
    return _compared("(said.value #>> '{}')", clause, arguments)


def _prompt(clause: Clause, arguments: Arguments) -> str:
    name, _, version = str(clause.value).partition("/")
    return (
        "exists (select from trace_prompt where trace_prompt.trace_id = trace.trace_id"
        f" and trace_prompt.name = {arguments.bind(name)}::text"
        f" and trace_prompt.version = {arguments.bind(version)}::text)"
    )
