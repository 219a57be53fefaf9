"""What traces may be searched and sorted by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from headrace.errors import InvalidInput
from services.tracking.domain.traces.entities import NAME_TAG, RUN_METADATA

Entity = Literal["attribute", "tag", "metadata", "span", "feedback", "expectation", "issue"]

RANGE: Final = (">", ">=", "<", "<=")
PRESENCE: Final = ("IS NULL", "IS NOT NULL")
_TEXT: Final = ("=", "!=", "LIKE", "ILIKE", "RLIKE")
_LISTED: Final = ("IN", "NOT IN")
_ENTITIES: Final[Mapping[str, Entity]] = {
    "attribute": "attribute",
    "attributes": "attribute",
    "trace": "attribute",
    "tag": "tag",
    "tags": "tag",
    "metadata": "metadata",
    "request_metadata": "metadata",
    "span": "span",
    "feedback": "feedback",
    "expectation": "expectation",
    "issue": "issue",
}
_ATTRIBUTES: Final[Mapping[str, str]] = {
    "request_id": "request_id",
    "trace_id": "request_id",
    "timestamp": "timestamp_ms",
    "timestamp_ms": "timestamp_ms",
    "execution_time": "execution_time_ms",
    "execution_time_ms": "execution_time_ms",
    "end_time": "end_time_ms",
    "end_time_ms": "end_time_ms",
    "status": "status",
    "client_request_id": "client_request_id",
    "name": "name",
    "run_id": "run_id",
    "prompt": "prompt",
    "text": "text",
}
_NUMERIC: Final = frozenset({"timestamp_ms", "execution_time_ms", "end_time_ms"})
_ORDERABLE: Final = frozenset({*_ATTRIBUTES.values(), "experiment_id"}) - {"prompt", "text"}
_SPAN_KEYS: Final = ("name", "type", "status")
_SPAN_ATTRIBUTE: Final = "attributes."


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceField:
    """One thing that a filter or an order names."""

    entity: Entity
    key: str

    @property
    def numeric(self) -> bool:
        """Whether it is a number of milliseconds."""
        return self.entity == "attribute" and self.key in _NUMERIC

    @property
    def operators(self) -> tuple[str, ...]:
        """What it can be compared with."""
        if self.numeric:
            return ("=", "!=", *RANGE)
        if self.entity == "issue" or (self.entity == "attribute" and self.key == "prompt"):
            return ("=",)
        if self.entity == "span":
            return ("LIKE", "ILIKE") if self.key == "content" else (*_TEXT, *_LISTED)
        if self.entity in ("feedback", "expectation"):
            return (*_TEXT, *RANGE, *PRESENCE)
        return (*_TEXT, *_LISTED, *PRESENCE)


def field_of(identifier: str, *, order: bool = False) -> TraceField:
    """The field of an identifier as it is written. Raises InvalidInput."""
    entity_name, key = _split(identifier)
    entity = "attribute" if entity_name is None else _ENTITIES.get(entity_name.lower())
    if entity is None:
        raise InvalidInput(
            f"Invalid entity type '{entity_name}'. Valid values are {sorted(_ENTITIES)}",
            field="order_by" if order else "filter",
        )
    if order and entity not in ("attribute", "tag", "metadata"):
        raise InvalidInput(f"Invalid order_by entity type '{entity_name}'", field="order_by")
    return _checked(entity, key, order=order)


def _checked(entity: Entity, key: str, *, order: bool) -> TraceField:
    if entity == "attribute":
        return _attribute(key, order=order)
    if entity == "tag" and key == NAME_TAG:
        return TraceField(entity="attribute", key="name")
    if entity == "metadata" and key == RUN_METADATA:
        return TraceField(entity="attribute", key="run_id")
    if entity == "span":
        return _span_field(key)
    if entity == "issue" and key != "id":
        raise InvalidInput(
            f"Invalid issue attribute '{key}'. Supported attributes: id", field="filter"
        )
    return TraceField(entity=entity, key=key)


def _attribute(key: str, *, order: bool) -> TraceField:
    name = "experiment_id" if order and key == "experiment_id" else _ATTRIBUTES.get(key.lower())
    if name is None or (order and name not in _ORDERABLE):
        valid = sorted(_ORDERABLE if order else _ATTRIBUTES)
        raise InvalidInput(
            f"Invalid attribute key '{key}' specified. Valid keys are '{valid}'",
            field="order_by" if order else "filter",
        )
    if name == "text":
        return TraceField(entity="span", key="content")
    return TraceField(entity="attribute", key=name)


def _span_field(key: str) -> TraceField:
    attribute = key.startswith(_SPAN_ATTRIBUTE) and _unquoted(key[len(_SPAN_ATTRIBUTE) :])
    if attribute:
        return TraceField(entity="span", key=_SPAN_ATTRIBUTE + attribute)
    if key not in (*_SPAN_KEYS, "content"):
        raise InvalidInput(
            f"Invalid span attribute '{key}'. Supported attributes: {', '.join(_SPAN_KEYS)},"
            " content, attributes.<attribute_name>.",
            field="filter",
        )
    return TraceField(entity="span", key=key)


def _split(identifier: str) -> tuple[str | None, str]:
    found = re.match(r'(`[^`]*`|"[^"]*"|[^.`"]+)\.(.+)', identifier, re.DOTALL)
    if found is None:
        return None, _unquoted(identifier)
    return _unquoted(found.group(1)), _unquoted(found.group(2))


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "`\"'":
        return text[1:-1]
    return text
