"""MLflow's search language: filters, order_by, page tokens."""

from services.tracking.domain.search.filters import Clause, parse_filter
from services.tracking.domain.search.grammar import EXPERIMENTS, MODELS, RUNS, Field, Grammar
from services.tracking.domain.search.order import Order, parse_model_order, parse_order
from services.tracking.domain.search.pages import next_token, offset_of

__all__ = [
    "EXPERIMENTS",
    "MODELS",
    "RUNS",
    "Clause",
    "Field",
    "Grammar",
    "Order",
    "next_token",
    "offset_of",
    "parse_filter",
    "parse_model_order",
    "parse_order",
]
