"""MLflow's search language and more: filters, order_by, page tokens."""

from services.tracking.domain.search.aggregates import parse_group, parse_measure
from services.tracking.domain.search.conditions import (
    EVERYTHING,
    AllOf,
    AnyOf,
    Clause,
    Condition,
    Not,
    clauses_of,
)
from services.tracking.domain.search.filters import parse_filter
from services.tracking.domain.search.grammar import (
    EXPERIMENTS,
    MODELS,
    RUNS,
    STATISTICS,
    Field,
    Grammar,
    Statistic,
)
from services.tracking.domain.search.identifiers import Identifier, identifier_of
from services.tracking.domain.search.order import (
    Order,
    parse_model_order,
    parse_order,
    touches_metrics,
)
from services.tracking.domain.search.pages import (
    After,
    Position,
    next_token,
    offset_of,
    place_order,
    position_of,
    token_of,
)

__all__ = [
    "EVERYTHING",
    "EXPERIMENTS",
    "MODELS",
    "RUNS",
    "STATISTICS",
    "After",
    "AllOf",
    "AnyOf",
    "Clause",
    "Condition",
    "Field",
    "Grammar",
    "Identifier",
    "Not",
    "Order",
    "Position",
    "Statistic",
    "clauses_of",
    "identifier_of",
    "next_token",
    "offset_of",
    "parse_filter",
    "parse_group",
    "parse_measure",
    "parse_model_order",
    "parse_order",
    "place_order",
    "position_of",
    "token_of",
    "touches_metrics",
]
