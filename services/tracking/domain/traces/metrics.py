"""What can be counted and measured over traces and their assessments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.errors import NotOffered
from services.tracking.domain.traces.search import AllOf, Condition, parse_filter

AGGREGATIONS: Final = ("COUNT", "SUM", "AVG", "PERCENTILE", "MIN", "MAX")
VIEWS: Final = ("TRACES", "SPANS", "ASSESSMENTS")
_COUNT: Final = frozenset({"COUNT"})
_LEVELS: Final = frozenset({"AVG", "MIN", "MAX", "PERCENTILE"})
_NAME: Final = frozenset({"trace_name"})
_ASSESSED: Final = re.compile(r"""assessment\.(name|type)\s*=\s*(?:'([^']*)'|"([^"]*)")""")
_TRACE_PART: Final = re.compile(r"trace\.(?=(tag|metadata)\.)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What a metric can be aggregated by and grouped by."""

    aggregations: AbstractSet[str]
    dimensions: AbstractSet[str]


TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
METRICS: Final[Mapping[str, Mapping[str, Metric]]] = {
    "TRACES": {
        "trace_count": Metric(aggregations=_COUNT, dimensions=_NAME | {"trace_status"}),
        "session_count": Metric(aggregations=_COUNT, dimensions=frozenset()),
        "latency": Metric(aggregations=_LEVELS, dimensions=_NAME),
        **{name: Metric(aggregations=_LEVELS | {"SUM"}, dimensions=_NAME) for name in TOKENS},
    },
    "ASSESSMENTS": {
        "assessment_count": Metric(
            aggregations=_COUNT, dimensions=frozenset({"assessment_name", "assessment_value"})
        ),
        "assessment_value": Metric(aggregations=_LEVELS, dimensions=frozenset({"assessment_name"})),
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregation:
    """How values become one; the percentile lies between 0 and 100."""

    kind: str
    percentile: float | None = None

    @property
    def label(self) -> str:
        """As MLflow names it in an answer."""
        return self.kind if self.percentile is None else f"P{self.percentile}"


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricQuery:
    """What is asked. Times are milliseconds; the interval is seconds; None is unrestricted."""

    view: str
    metric: str
    aggregations: Sequence[Aggregation]
    dimensions: Sequence[str] = ()
    condition: Condition
    assessed: Mapping[str, str]
    interval: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None


def check_metric(view: str, metric: str, kinds: Sequence[str], dimensions: Sequence[str]) -> None:
    """Raises NotOffered for spans, InvalidInput for what does not exist or does not fit."""
    if view not in METRICS:
        raise NotOffered(f"Metrics over {view} are not offered; use TRACES or ASSESSMENTS.")
    known = METRICS[view].get(metric)
    if known is None:
        raise InvalidInput(
            f"metric_name must be one of {list(METRICS[view])}, got '{metric}'",
            field="metric_name",
        )
    for field, what, given, allowed in (
        ("aggregations", "aggregation_type", set(kinds), known.aggregations),
        ("dimensions", "dimension", set(dimensions), known.dimensions),
    ):
        if given - allowed:
            raise InvalidInput(
                f"Found invalid {what}(s): {sorted(given - allowed)}. Supported: {sorted(allowed)}",
                field=field,
            )


def parse_metric_filters(filters: Sequence[str]) -> tuple[Condition, dict[str, str]]:
    """What traces must be, and what assessments must be called (name, type). InvalidInput."""
    conditions: list[Condition] = []
    assessed: dict[str, str] = {}
    for text in filters:
        found = _ASSESSED.fullmatch(text.strip())
        if found is not None:
            assessed[found.group(1)] = found.group(2) or found.group(3) or ""
        else:
            conditions.append(parse_filter(_TRACE_PART.sub("", text)))
    return AllOf(tuple(conditions)), assessed
