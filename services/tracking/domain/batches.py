"""What one write brings to a run, within MLflow's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.entities import ModelMetric
from services.tracking.domain.points import Points
from services.tracking.domain.summaries import Summaries, no_summaries

MAX_METRICS: Final = 1000
MAX_PARAMS: Final = 100
MAX_TAGS: Final = 100
MAX_ENTITIES: Final = 1000
MAX_REPORTED_POINTS: Final = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Checked content of one write; `model_metrics` are points that also belong to a model."""

    points: Points = field(default_factory=Points)
    model_metrics: Sequence[ModelMetric] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What a write changed; all empty when it was a repetition."""

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Summaries = field(default_factory=no_summaries)

    def __bool__(self) -> bool:
        return bool(self.params or self.tags or len(self.metrics))


def check_counts(*, metrics: int, params: int, tags: int) -> None:
    """Refuse a batch over the limits of the REST API. Raises InvalidInput."""
    for what, limit, count in (
        ("metrics", MAX_METRICS, metrics),
        ("params", MAX_PARAMS, params),
        ("tags", MAX_TAGS, tags),
        ("metrics, params, and tags", MAX_ENTITIES, metrics + params + tags),
    ):
        if count > limit:
            raise InvalidInput(
                f"A batch logging request can contain at most {limit} {what}. "
                f"Got {count} {what}. Please split up {what} across multiple requests "
                "and try again.",
                field=what,
            )


def unique_params(params: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Params by key. Raises InvalidInput if a key comes twice."""
    by_key = dict(params)
    if len(by_key) != len(params):
        keys = [key for key, _ in params]
        twice = [key for place, key in enumerate(keys) if key in keys[:place]]
        raise InvalidInput(
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure "
            "the request contains only one param value per param key.",
            field="params",
        )
    return by_key


def changed_param(run_id: str, key: str, old: str, new: str) -> InvalidInput:
    """MLflow's error for one param that would change."""
    return InvalidInput(
        f"Changing param values is not allowed. Param with key='{key}' was already logged with "
        f"value='{old}' for run ID='{run_id}'. Attempted logging new value '{new}'.",
        field=key,
    )


def changed_params(run_id: str, changes: Sequence[tuple[str, str, str]]) -> InvalidInput:
    """MLflow's error for params of a batch that would change: (key, old, new) each."""
    listed = [{"key": key, "old_value": old, "new_value": new} for key, old, new in changes]
    return InvalidInput(
        f"Changing param values is not allowed. Params were already logged='{listed}' "
        f"for run ID='{run_id}'.",
        field="params",
    )
