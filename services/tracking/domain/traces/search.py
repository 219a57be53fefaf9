"""Filters and orders of a search for traces.

MLflow's language is clauses joined by AND; OR, NOT and parentheses come on top. Clauses on spans
that stand side by side in an AND are meant of one and the same span.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.search.tokens import END, Tokens, refused
from services.tracking.domain.traces.fields import (
    PRESENCE,
    RANGE,
    TraceField,
    field_of,
)

MAX_CLAUSES: Final = 100
MAX_DEPTH: Final = 32
MAX_PATTERN: Final = 1000
_PHRASES: Final = (
    ("IS", "NOT", "NULL"),
    ("IS", "NULL"),
    ("NOT", "IN"),
    ("IN",),
    ("LIKE",),
    ("ILIKE",),
    ("RLIKE",),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clause:
    """One comparison. The value is text, a number, several texts (IN) or None (IS NULL)."""

    field: TraceField
    operator: str
    value: str | float | int | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class OneSpan:
    """There is a span for which all clauses hold."""

    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """All must hold; none at all always holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one must hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It must not hold."""

    part: Condition


Condition = Clause | OneSpan | AllOf | AnyOf | Not
EVERYTHING: Final = AllOf(())


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Sort by a field; what is missing comes last."""

    field: TraceField
    ascending: bool


def parse_filter(text: str | None) -> Condition:
    """What a filter asks for. Raises InvalidInput."""
    if not text or not text.strip():
        return EVERYTHING
    return _Parser(Tokens(text)).whole()


def parse_order(clauses: Sequence[str]) -> list[Order]:
    """Orders, most significant first. Raises InvalidInput."""
    orders = [_order(clause) for clause in clauses]
    if len({order.field for order in orders}) != len(orders):
        raise InvalidInput(
            f"`order_by` contains duplicate fields: {list(clauses)}", field="order_by"
        )
    return orders


def spans_asked(condition: Condition) -> Iterator[OneSpan]:
    """All that is asked of spans, which no column answers."""
    if isinstance(condition, OneSpan):
        yield condition
    elif isinstance(condition, (AllOf, AnyOf)):
        for part in condition.parts:
            yield from spans_asked(part)
    elif isinstance(condition, Not):
        yield from spans_asked(condition.part)


class _Parser:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._clauses = 0

    def whole(self) -> Condition:
        condition = self._any(depth=0)
        if self._tokens.peek() is not END:
            raise self._tokens.not_a_clause()
        return condition

    def _any(self, *, depth: int) -> Condition:
        parts = self._tokens.joined("OR", lambda: self._all(depth=depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self, *, depth: int) -> Condition:
        return _of_one_span(self._tokens.joined("AND", lambda: self._one(depth=depth)))

    def _one(self, *, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise refused(f"Filter string is nested more than {MAX_DEPTH} deep")
        if self._tokens.peek().word == "NOT":
            self._tokens.take()
            return Not(self._one(depth=depth + 1))
        if self._tokens.peek().text != "(":
            return self._clause()
        self._tokens.take()
        inside = self._any(depth=depth + 1)
        if self._tokens.peek().text != ")":
            raise self._tokens.not_a_clause()
        self._tokens.take()
        return inside

    def _clause(self) -> Clause | OneSpan:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise refused(f"Filter string has more than {MAX_CLAUSES} clauses")
        tokens = self._tokens
        if tokens.peek().kind != "name":
            raise tokens.not_a_clause()
        operator, length = tokens.operator(_PHRASES)
        named = field_of(tokens.peek().text)
        if operator not in named.operators:
            raise refused(f"Invalid comparator '{operator}' not one of '{named.operators}'")
        tokens.take(1 + length)
        clause = Clause(field=named, operator=operator, value=self._value(named, operator))
        return OneSpan((clause,)) if named.entity == "span" else clause

    def _value(
        self, named: TraceField, operator: str
    ) -> str | float | int | tuple[str, ...] | None:
        if operator in PRESENCE:
            return None
        if operator in ("IN", "NOT IN"):
            return self._listed()
        assessed = named.entity in ("feedback", "expectation")
        if named.numeric or (assessed and operator in RANGE):
            return self._number(named)
        if assessed and self._tokens.peek().kind == "number":
            return self._number(named)
        return self._text(named, operator)

    def _number(self, named: TraceField) -> float | int:
        token = self._tokens.peek()
        if token.kind != "number":
            raise refused(
                f"Expected numeric value type for numeric attribute: {named.key}."
                f" Found {token.text}"
            )
        self._tokens.take()
        whole = re.fullmatch(r"[+-]?\d{1,18}", token.text)
        return int(token.text) if whole else float(token.text)

    def _text(self, named: TraceField, operator: str) -> str:
        token = self._tokens.peek()
        if token is END:
            raise self._tokens.not_a_clause()
        text = token.quoted
        if text is None:
            raise refused(
                f"Expected a quoted string value for {named.entity} (e.g. 'my-value')."
                f" Got value {token.text}"
            )
        self._tokens.take()
        if operator == "RLIKE":
            _check_pattern(text)
        return text

    def _listed(self) -> tuple[str, ...]:
        values: list[str] = []
        opening = "("
        while self._tokens.peek().text == opening:
            text = self._tokens.peek(1).quoted
            if text is None:
                break
            values.append(text)
            self._tokens.take(2)
            opening = ","
        if not values or self._tokens.peek().text != ")":
            raise refused(
                "While parsing a list in the query, expected a non-empty list of string values,"
                f" but got {self._tokens.peek().text or 'nothing'}."
            )
        self._tokens.take()
        return tuple(values)


def _of_one_span(parts: Sequence[Condition]) -> Condition:
    """An AND whose clauses on spans are one."""
    asked = tuple(clause for part in parts if isinstance(part, OneSpan) for clause in part.clauses)
    rest = tuple(part for part in parts if not isinstance(part, OneSpan))
    joined = (*rest, OneSpan(asked)) if asked else rest
    return joined[0] if len(joined) == 1 else AllOf(joined)


def _check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise refused(f"A regular expression has at most {MAX_PATTERN} characters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise refused(f"Invalid regular expression {pattern[:100]!r}: {error}") from error


def _order(clause: str) -> Order:
    tokens = Tokens(clause)
    name, direction = tokens.peek(), tokens.peek(1)
    if name.kind != "name" or tokens.peek(2) is not END:
        raise InvalidInput(
            f"Invalid order_by clause '{clause}'. Could not be parsed.", field="order_by"
        )
    if direction is not END and direction.word not in ("ASC", "DESC"):
        raise InvalidInput(f"Invalid ordering key in order_by clause '{clause}'.", field="order_by")
    return Order(field=field_of(name.text, order=True), ascending=direction.word != "DESC")
