"""What may be searched by what: entities, attributes and operators of each kind of search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from headrace.errors import InvalidInput

Entity = Literal["attribute", "metric", "parameter", "tag", "dataset"]

NUMERIC: Final = ("=", "!=", ">", ">=", "<", "<=")
TEXT: Final = ("=", "!=", "LIKE", "ILIKE")
LISTED: Final = ("IN", "NOT IN")
PRESENCE: Final = ("IS NULL", "IS NOT NULL")


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One thing that a filter or an order names."""

    entity: Entity
    key: str
    numeric: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """The words of one kind of search.

    `entities` maps what users write to entities, `attributes` all spellings of an attribute to
    its name; `listed` are the attributes that IN works on.
    """

    entities: Mapping[str, Entity]
    entity_names: str
    attributes: Mapping[str, str]
    numeric: frozenset[str]
    orderable: frozenset[str]
    listed: frozenset[str]
    dataset_keys: frozenset[str] = field(default_factory=frozenset)

    def field(self, entity: str | None, key: str, *, order: bool = False) -> Field:
        """The field that `entity.key` names; no entity means attribute. Raises InvalidInput."""
        kind = self.entities.get(entity) if entity is not None else "attribute"
        if kind is None:
            raise InvalidInput(
                f"Invalid entity type '{entity}'. Valid values are {self.entity_names}",
                field="filter",
            )
        if kind == "attribute":
            return self._attribute(key, order=order)
        if kind == "dataset" and key not in self.dataset_keys:
            raise InvalidInput(
                f"Invalid dataset key '{key}' specified. "
                f"Valid keys are '{sorted(self.dataset_keys)}'",
                field="filter",
            )
        return Field(entity=kind, key=key, numeric=kind == "metric")

    def operators(self, named: Field) -> tuple[str, ...]:
        """The operators that work on a field."""
        if named.numeric:
            return NUMERIC
        if named.entity in ("parameter", "tag"):
            return (*TEXT, *PRESENCE)
        if named.entity == "dataset" or named.key in self.listed:
            return (*TEXT, *LISTED)
        return TEXT

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
    entity_names="['metric', 'parameter', 'tag', 'attribute', 'dataset']",
    attributes={
        **_same("run_id", "run_name", "status", "user_id", "artifact_uri"),
        **_same("start_time", "end_time"),
        **dict.fromkeys(("created", "Created"), "start_time"),
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
    },
    numeric=frozenset({"start_time", "end_time"}),
    orderable=frozenset(
        {"run_id", "run_name", "status", "user_id", "artifact_uri", "start_time", "end_time"}
    ),
    listed=frozenset({"run_id"}),
    dataset_keys=frozenset({"name", "digest", "context"}),
)

EXPERIMENTS: Final = Grammar(
    entities={"attribute": "attribute", "tag": "tag", "tags": "tag"},
    entity_names="('attribute', 'tag', 'tags')",
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
    "last_updated_timestamp_ms": "last_updated_timestamp_ms",
}
MODELS: Final = Grammar(
    entities={
        "attributes": "attribute",
        "metrics": "metric",
        "params": "parameter",
        "tags": "tag",
    },
    entity_names="['attributes', 'metrics', 'params', 'tags']",
    attributes={
        **_same("name", "model_id", "model_type", "status", "source_run_id", "experiment_id"),
        **_MODEL_TIMES,
    },
    numeric=frozenset(_MODEL_TIMES.values()),
    orderable=frozenset(
        {"name", "model_id", "model_type", "status", "source_run_id", *_MODEL_TIMES.values()}
    ),
    listed=frozenset({"name", "model_id", "model_type", "status", "source_run_id"}),
)
