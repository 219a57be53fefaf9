"""`order_by`: "identifier [ASC|DESC]" for runs and experiments, objects for logged models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.search.conditions import Condition, clauses_of
from services.tracking.domain.search.grammar import MODELS, Field, Grammar
from services.tracking.domain.search.identifiers import CALL, QUOTED, identifier_of

_ORDER: Final = re.compile(rf"""\s*({CALL}|(?:{QUOTED}|[^\s`"])+)(?:\s+(\S+))?\s*""", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Sort by a field; a metric of a logged model may be meant on one dataset only."""

    field: Field
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


def parse_order(clauses: Sequence[str], grammar: Grammar) -> list[Order]:
    """Orders, most significant first. Raises InvalidInput."""
    orders = [_order(clause, grammar) for clause in clauses]
    if len({order.field for order in orders}) != len(orders):
        raise _invalid(f"`order_by` contains duplicate fields: {list(clauses)}")
    return orders


def parse_model_order(clauses: Sequence[Mapping[str, object]]) -> list[Order]:
    """Orders of a search for logged models. Raises InvalidInput."""
    return [_model_order(clause) for clause in clauses]


def touches_metrics(condition: Condition, orders: Sequence[Order]) -> bool:
    """Whether a search looks at metrics, to choose or to sort."""
    fields = [clause.field for clause in clauses_of(condition)]
    return any(named.entity == "metric" for named in [*fields, *(order.field for order in orders)])


def _order(clause: str, grammar: Grammar) -> Order:
    found = _ORDER.fullmatch(clause)
    if found is None:
        raise _invalid(f"Invalid order_by clause '{clause}'. Could not be parsed.")
    direction = (found.group(2) or "asc").lower()
    if direction not in ("asc", "desc"):
        raise _invalid(f"Invalid ordering key in order_by clause '{clause}'.")
    named = grammar.field(identifier_of(found.group(1)), order=True)
    if named.entity == "dataset":
        raise _invalid(f"Invalid order_by entity type '{named.entity}'")
    return Order(field=named, ascending=direction == "asc")


def _model_order(clause: Mapping[str, object]) -> Order:
    name = str(clause.get("field_name") or "")
    if not name:
        raise _invalid("`field_name` in the `order_by` clause must be specified.")
    named = identifier_of(name)
    if named.entity is not None and named.entity != "metrics":
        raise _invalid(f"Invalid order by field name: {name}. Only metrics are supported.")
    dataset_name = str(clause.get("dataset_name") or "")
    dataset_digest = str(clause.get("dataset_digest") or "")
    if dataset_digest and not dataset_name:
        raise _invalid(
            "`dataset_digest` can only be specified if `dataset_name` is also specified."
        )
    return Order(
        field=MODELS.field(named, order=True),
        ascending=clause.get("ascending") is not False,
        dataset_name=dataset_name,
        dataset_digest=dataset_digest,
    )


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, field="order_by")
