"""What runs are grouped by, and which of their metrics are aggregated."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.search.grammar import RUNS, Field
from services.tracking.domain.search.identifiers import Identifier, identifier_of

MAX_KEYS: Final = 4
MAX_MEASURES: Final = 20
MAX_GROUPS: Final = 1000


def parse_group(text: str) -> Field:
    """What `params.x`, `tags.y` or `attributes.status` names. Raises InvalidInput."""
    named = RUNS.field(identifier_of(text))
    if named.numeric or named.entity == "dataset":
        raise InvalidInput(
            f"Invalid group_by '{text}'. Runs are grouped by params, tags and attributes that "
            "are texts, such as attributes.status.",
            field="group_by",
        )
    return named


def parse_measure(key: str, of: str) -> Field:
    """A statistic of a metric. Raises InvalidInput."""
    return RUNS.field(Identifier(entity="metrics", key=key, statistic=of or "last"))
