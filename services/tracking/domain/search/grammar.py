"""What may be searched by what: entities, attributes and operators of each kind of search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from headrace.errors import InvalidInput
from services.tracking.domain.search.identifiers import Identifier

Entity = Literal["attribute", "metric", "parameter", "tag", "dataset"]
Statistic = Literal[
    "last",
    "first",
    "min",
    "max",
    "mean",
    "sum",
    "count",
    "last_step",
    "first_step",
    "min_step",
    "max_step",
]
"""What is kept of the points of a metric; mean and sum are over the finite ones."""
STATISTICS: Final[tuple[Statistic, ...]] = get_args(Statistic)

RANGE: Final = (">", ">=", "<", "<=")
NUMERIC: Final = ("=", "!=", *RANGE)
TEXT: Final = ("=", "!=", "LIKE", "ILIKE")
LISTED: Final = ("IN", "NOT IN")
PRESENCE: Final = ("IS NULL", "IS NOT NULL")


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One thing that a filter or an order names; of a metric, one of its statistics."""

    entity: Entity
    key: str
    numeric: bool
    statistic: Statistic = "last"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """The words of one kind of search.

    `entities` maps what users write to entities, `attributes` all spellings of an attribute to
    its name; `listed` are the attributes that IN works on, `keyed` the operators of params and
    tags, `summarised` says whether metrics have statistics; `foreign` is the error for an
    entity that is none.
    """

    entities: Mapping[str, Entity]
    foreign: str
    attributes: Mapping[str, str]
    numeric: frozenset[str]
    orderable: frozenset[str]
    listed: frozenset[str]
    keyed: tuple[str, ...] = (*TEXT, *PRESENCE)
    dataset_keys: frozenset[str] = field(default_factory=frozenset)
    summarised: bool = False

    def field(self, named: Identifier, *, order: bool = False) -> Field:
        """The field that is named; no entity means attribute. Raises InvalidInput."""
        kind = self.entities.get(named.entity) if named.entity is not None else "attribute"
        where = "order_by" if order else "filter"
        if kind is None:
            raise InvalidInput(self.foreign.format(named.entity), field=where)
        if named.statistic is not None:
            return self._statistic(kind, named.key, named.statistic, where)
        if kind == "attribute":
            return self._attribute(named.key, order=order)
        if kind == "dataset" and named.key not in self.dataset_keys:
            raise InvalidInput(
                f"Invalid dataset key '{named.key}' specified. "
                f"Valid keys are '{sorted(self.dataset_keys)}'",
                field=where,
            )
        return Field(entity=kind, key=named.key, numeric=kind == "metric")

    def operators(self, named: Field) -> tuple[str, ...]:
        """The operators that work on a field."""
        if named.numeric:
            return (*NUMERIC, *LISTED)
        if named.entity in ("parameter", "tag"):
            return self.keyed
        if named.entity == "dataset" or named.key in self.listed:
            return (*TEXT, *LISTED)
        return TEXT

    def _statistic(self, kind: Entity, key: str, statistic: str, where: str) -> Field:
        for known in STATISTICS:
            if known == statistic and kind == "metric" and self.summarised:
                return Field(entity=kind, key=key, numeric=True, statistic=known)
        valid = list(STATISTICS) if self.summarised else []
        raise InvalidInput(
            f"Invalid statistic '{statistic}' of {kind} '{key}'. "
            f"Valid statistics of metrics are {valid}",
            field=where,
        )

    def _attribute(self, key: str, *, order: bool) -> Field:
        name = self.attributes.get(key)
        if name is None or (order and name not in self.orderable):
            valid = sorted(self.orderable if order else set(self.attributes))
            raise InvalidInput(
                f"Invalid attribute key '{key}' specified. Valid keys are '{valid}'",
                field="order_by" if order else "filter",
            )
        return Field(entity="attribute", key=name, numeric=name in self.numeric)


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


RUNS: Final = Grammar(
    entities={
        "metric": "metric",
        "metrics": "metric",
        "param": "parameter",
        "params": "parameter",
        "parameter": "parameter",
        "parameters": "parameter",
        "tag": "tag",
        "tags": "tag",
        "attribute": "attribute",
        "attributes": "attribute",
        "attr": "attribute",
        "run": "attribute",
        "dataset": "dataset",
        "datasets": "dataset",
    },
    foreign="Invalid entity type '{}'. Valid values are "
    "['metric', 'parameter', 'tag', 'attribute', 'dataset']",
    attributes={
        **_same("run_id", "run_name", "status", "user_id", "artifact_uri"),
        **_same("start_time", "end_time", "duration"),
        **dict.fromkeys(("created", "Created"), "start_time"),
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
    },
    numeric=frozenset({"start_time", "end_time", "duration"}),
    orderable=frozenset(
        {
            *("run_id", "run_name", "status", "user_id", "artifact_uri"),
            *("start_time", "end_time", "duration"),
        }
    ),
    listed=frozenset({"run_id"}),
    dataset_keys=frozenset({"name", "digest", "context"}),
    summarised=True,
)

EXPERIMENTS: Final = Grammar(
    entities={"attribute": "attribute", "tag": "tag", "tags": "tag"},
    foreign="Invalid entity type '{}'. Valid entity types are ('attribute', 'tag', 'tags')",
    attributes=_same("name", "experiment_id", "creation_time", "last_update_time"),
    numeric=frozenset({"creation_time", "last_update_time"}),
    orderable=frozenset({"name", "experiment_id", "creation_time", "last_update_time"}),
    listed=frozenset({"experiment_id"}),
)

_MODEL_TIMES: Final = {
    "creation_timestamp": "creation_timestamp_ms",
    "creation_time": "creation_timestamp_ms",
    "creation_timestamp_ms": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
    "last_updated_time": "last_updated_timestamp_ms",
    "last_updated_timestamp_ms": "last_updated_timestamp_ms",
}
MODELS: Final = Grammar(
    entities={
        "attributes": "attribute",
        "metrics": "metric",
        "params": "parameter",
        "tags": "tag",
    },
    foreign="Invalid entity type: '{}'. "
    "Expected one of ['attributes', 'metrics', 'params', 'tags'].",
    attributes={
        **_same("name", "model_id", "model_type", "status", "source_run_id", "experiment_id"),
        **_MODEL_TIMES,
    },
    numeric=frozenset(_MODEL_TIMES.values()),
    orderable=frozenset(
        {"name", "model_id", "model_type", "status", "source_run_id", *_MODEL_TIMES.values()}
    ),
    listed=frozenset({"name", "model_id", "model_type", "status", "source_run_id"}),
    keyed=(*TEXT, *LISTED, *PRESENCE),
)
