"""Evaluation datasets: questions, expected answers, and how they are told apart.

Source: mlflow.entities.evaluation_dataset, mlflow.entities.dataset_record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from headrace.errors import InvalidInput, NotFound
from services.tracking.domain.search import Grammar

USER_TAG: Final = "mlflow.user"
_MAX_NAME: Final = 500

DATASETS: Final = Grammar(
    entities={"attribute": "attribute", "tag": "tag", "tags": "tag"},
    foreign="Invalid entity type '{}'. Valid values are ('attribute', 'tag', 'tags')",
    attributes={
        name: name
        for name in ("name", "created_time", "last_update_time", "created_by", "last_updated_by")
    },
    numeric=frozenset({"created_time", "last_update_time"}),
    orderable=frozenset({"name", "created_time", "last_update_time"}),
    listed=frozenset({"name"}),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationDataset:
    """A dataset without its records. Times are milliseconds since the epoch."""

    dataset_id: str
    name: str
    digest: str
    schema: Mapping[str, Any] | None
    records: int
    created_time: int
    last_update_time: int
    created_by: str | None
    last_updated_by: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    experiment_ids: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One question with what is known of its answer; the values are what clients sent."""

    record_id: str
    inputs: Mapping[str, Any]
    outputs: Any = None
    expectations: Mapping[str, Any] | None = None
    tags: Mapping[str, Any] | None = None
    source: Mapping[str, Any] | None = None
    created_time: int
    last_update_time: int
    created_by: str | None = None
    last_updated_by: str | None = None

    @property
    def input_hash(self) -> str:
        return hash_of(self.inputs)

    def merged(self, given: Mapping[str, Any], *, now_ms: int) -> Record:
        """The record after the same question was sent again."""
        tags = {**(self.tags or {}), **(given.get("tags") or {})}
        expectations = {**(self.expectations or {}), **(given.get("expectations") or {})}
        return replace(
            self,
            outputs=given.get("outputs", self.outputs),
            expectations=expectations or None,
            tags=tags or None,
            last_update_time=now_ms,
            last_updated_by=user_in(given) or self.last_updated_by,
        )


def new_record(given: Mapping[str, Any], *, record_id: str, now_ms: int) -> Record:
    """A record that was sent for the first time."""
    return Record(
        record_id=record_id,
        inputs=given["inputs"],
        outputs=given.get("outputs"),
        expectations=given.get("expectations"),
        tags=given.get("tags"),
        source=given.get("source"),
        created_time=now_ms,
        last_update_time=now_ms,
        created_by=user_in(given),
        last_updated_by=user_in(given),
    )


def user_in(given: Mapping[str, Any]) -> str | None:
    """Who sent a record, as its tags say."""
    user = (given.get("tags") or {}).get(USER_TAG)
    return None if user is None else str(user)


def hash_of(inputs: Mapping[str, Any]) -> str:
    """What tells records apart: the inputs, in whatever order their keys came."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def digest_of(name: str, now_ms: int) -> str:
    """A digest that changes whenever the records do."""
    return hashlib.sha256(f"{name}:{now_ms}".encode()).hexdigest()[:8]


def check_dataset_name(name: str) -> str:
    """The name itself. Raises InvalidInput."""
    if not name.strip() or len(name) > _MAX_NAME:
        raise InvalidInput(
            f"Dataset name: expected 1 to {_MAX_NAME} characters, not all of them spaces",
            field="name",
        )
    return name


def parsed(text: str, *, name: str) -> Any:
    """The JSON that travels as a text. Raises InvalidInput naming the parameter."""
    try:
        return json.loads(text)
    except ValueError:
        raise InvalidInput(f"Parameter '{name}' must hold valid JSON.", field=name) from None


def check_records(given: object) -> list[Mapping[str, Any]]:
    """Records as clients send them. Raises InvalidInput naming the first that is not one."""
    if not isinstance(given, list):
        raise InvalidInput("Parameter 'records' must hold a JSON list.", field="records")
    for place, record in enumerate(given):
        if not isinstance(record, dict) or not isinstance(record.get("inputs"), dict):
            raise InvalidInput(
                f"records[{place}]: expected an object with an object 'inputs'", field="records"
            )
        for part in ("expectations", "tags", "source"):
            if not isinstance(record.get(part) or {}, dict):
                raise InvalidInput(f"records[{place}].{part}: expected an object", field="records")
    return given


def check_tags(given: object) -> dict[str, str]:
    """Tags as clients send them; those without a value are left out. Raises InvalidInput."""
    if not isinstance(given, dict):
        raise InvalidInput("Parameter 'tags' must hold a JSON object.", field="tags")
    return {str(key): str(value) for key, value in given.items() if value is not None}


def widened(
    schema: Mapping[str, Any] | None, records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The schema with the fields that are new in some records; a field keeps its first type."""
    found: dict[str, Any] = {"inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0"}
    found.update(schema or {})
    for record in records:
        for part in ("inputs", "outputs", "expectations"):
            value = record.get(part)
            if isinstance(value, dict) and isinstance(found[part], dict):
                found[part] = {**{key: _type(one) for key, one in value.items()}, **found[part]}
            elif value is not None and not found[part]:
                found[part] = _type(value)
    return found


def no_dataset(dataset_id: str) -> NotFound:
    """MLflow's error for a dataset that does not exist."""
    return NotFound(f"Evaluation dataset with id '{dataset_id}' not found")


def _type(value: object) -> str:
    names: tuple[tuple[type, str], ...] = (
        (type(None), "null"),
        (bool, "boolean"),
        (int, "integer"),
        (float, "float"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "unknown")
