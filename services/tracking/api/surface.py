"""What tracking's MLflow endpoints take: one table, from which the OpenAPI document is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A field of a request; `kind` names a schema of `KINDS`."""

    name: str
    kind: str
    required: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """An endpoint below `/api/2.0/mlflow`: its fields are a query for GET, else a JSON body."""

    method: str
    path: str
    parameters: tuple[Parameter, ...]


Schema = dict[str, object]

_TEXT: Final[Schema] = {"type": "string"}
_LONG: Final[Schema] = {"type": "integer", "format": "int64"}
_TIME: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 0}
_REAL: Final[Schema] = {
    "anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]
}


def _list(**members: object) -> Schema:
    return {"type": "array", "items": {"type": "object", "properties": members}}


_DATASET: Final[Schema] = {
    "type": "object",
    "required": ["name", "digest", "source_type", "source"],
    "properties": dict.fromkeys(
        ("name", "digest", "source_type", "source", "schema", "profile"), _TEXT
    ),
}

KINDS: Final[dict[str, Schema]] = {
    "text": _TEXT,
    "long": _LONG,
    "time": _TIME,
    "real": _REAL,
    "truth": {"type": "boolean"},
    "texts": {"type": "array", "items": _TEXT},
    "pairs": _list(key=_TEXT, value=_TEXT),
    "metrics": _list(key=_TEXT, value=_REAL, timestamp=_TIME, step=_LONG, model_id=_TEXT),
    "models": _list(model_id=_TEXT, step=_LONG),
    "datasets": _list(dataset=_DATASET, tags=_list(key=_TEXT, value=_TEXT)),
    "measured": _list(dataset_name=_TEXT, dataset_digest=_TEXT),
    "orders": _list(field_name=_TEXT, ascending={"type": "boolean"}, dataset_name=_TEXT),
    "view": {"type": "string", "enum": ["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]},
    "status": {
        "type": "string",
        "enum": ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"],
    },
    "readiness": {"type": "string", "enum": ["LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]},
}

_PAGE: Final = "max_results:long page_token"
_TABLE: Final = (
    ("POST", "/experiments/create", "name! artifact_location tags:pairs"),
    ("GET", "/experiments/get", "experiment_id!"),
    ("GET", "/experiments/get-by-name", "experiment_name!"),
    ("POST", "/experiments/search", f"filter order_by:texts view_type:view {_PAGE}"),
    ("GET", "/experiments/search", f"filter order_by:texts view_type:view {_PAGE}"),
    ("POST", "/experiments/update", "experiment_id! new_name!"),
    ("POST", "/experiments/delete", "experiment_id!"),
    ("POST", "/experiments/restore", "experiment_id!"),
    ("POST", "/experiments/set-experiment-tag", "experiment_id! key! value"),
    ("POST", "/experiments/delete-experiment-tag", "experiment_id! key!"),
    ("POST", "/experiments/search-datasets", "experiment_ids!:texts"),
    ("POST", "/runs/create", "experiment_id user_id run_name start_time:time tags:pairs"),
    ("GET", "/runs/get", "run_id!"),
    ("POST", "/runs/update", "run_id! status:status end_time:time run_name"),
    ("POST", "/runs/delete", "run_id!"),
    ("POST", "/runs/restore", "run_id!"),
    (
        "POST",
        "/runs/search",
        f"experiment_ids:texts filter order_by:texts run_view_type:view {_PAGE}",
    ),
    (
        "POST",
        "/runs/log-metric",
        "run_id! key! value!:real timestamp!:time step:long model_id dataset_name dataset_digest",
    ),
    ("POST", "/runs/log-batch", "run_id! metrics:metrics params:pairs tags:pairs"),
    ("POST", "/runs/log-parameter", "run_id! key! value"),
    ("POST", "/runs/set-tag", "run_id! key! value"),
    ("POST", "/runs/delete-tag", "run_id! key!"),
    ("POST", "/runs/log-inputs", "run_id! datasets:datasets models:models"),
    ("POST", "/runs/outputs", "run_id! models!:models"),
    ("POST", "/runs/log-model", "run_id! model_json!"),
    ("GET", "/metrics/get-history", f"run_id! metric_key! {_PAGE}"),
    ("GET", "/metrics/get-history-bulk", "run_id!:texts metric_key! max_results:long"),
    (
        "GET",
        "/metrics/get-history-bulk-interval",
        "run_ids!:texts metric_key! start_step:long end_step:long max_results:long",
    ),
    (
        "POST",
        "/logged-models",
        "experiment_id! name model_type source_run_id params:pairs tags:pairs",
    ),
    (
        "POST",
        "/logged-models/search",
        f"experiment_ids!:texts filter datasets:measured order_by:orders {_PAGE}",
    ),
    ("GET", "/logged-models/{model_id}", "allow_deleted:truth"),
    ("PATCH", "/logged-models/{model_id}", "status!:readiness"),
    ("DELETE", "/logged-models/{model_id}", ""),
    ("POST", "/logged-models/{model_id}/params", "params:pairs"),
    ("PATCH", "/logged-models/{model_id}/tags", "tags:pairs"),
    ("DELETE", "/logged-models/{model_id}/tags/{key}", ""),
    ("GET", "/logged-models/{model_id}/artifacts/directories", "artifact_directory_path"),
)


def _parameter(note: str) -> Parameter:
    name, _, kind = note.partition(":")
    return Parameter(name=name.removesuffix("!"), kind=kind or "text", required=name.endswith("!"))


OPERATIONS: Final = tuple(
    Operation(
        method=method,
        path=path,
        parameters=tuple(_parameter(note) for note in notes.split()),
    )
    for method, path, notes in _TABLE
)
"""`name! text` notes: `!` marks what is required, `:kind` what is not a text."""
