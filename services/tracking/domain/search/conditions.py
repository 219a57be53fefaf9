"""What a filter says: comparisons joined by AND, OR and NOT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from services.tracking.domain.search.grammar import Field

Value = str | float | int | tuple[str, ...] | tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Clause:
    """One comparison. The value is a text, a number, several of either (IN), None (IS NULL).

    A number beside a param asks for the params that read as numbers.
    """

    field: Field
    operator: str
    value: Value = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AllOf:
    """Each must hold; holds if there are none."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnyOf:
    """At least one must hold."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    """Must not hold: what a comparison says of a thing that lacks the field is no, NOT says yes."""

    of: Condition


Condition = Clause | AllOf | AnyOf | Not
EVERYTHING = AllOf(of=())


def clauses_of(condition: Condition) -> Iterator[Clause]:
    """All comparisons, in the order written."""
    match condition:
        case Clause():
            yield condition
        case Not():
            yield from clauses_of(condition.of)
        case AllOf() | AnyOf():
            for inner in condition.of:
                yield from clauses_of(inner)
        case _:
            assert_never(condition)
