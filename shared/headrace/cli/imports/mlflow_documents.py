"""Answers of MLflow's REST API as what they describe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from headrace.cli.imports.mlflow_values import model_status, run_status, stage_of, true_value
from headrace.cli.imports.registered import ModelVersion, RegisteredModel
from headrace.cli.imports.sources import (
    Dataset,
    Experiment,
    Model,
    ModelPoint,
    Run,
    Series,
    series_of,
)

Document = dict[str, Any]


def experiment_of(found: Document) -> Experiment:
    """`Experiment` of MLflow's API."""
    return Experiment(
        source_id=str(found["experiment_id"]),
        name=found["name"],
        lifecycle_stage=stage_of(found.get("lifecycle_stage")),
        creation_time=_integer(found.get("creation_time")),
        tags=_pairs(found.get("tags")),
    )


def series_of_points(key: str, points: Sequence[Document]) -> Series:
    """A page of a history."""
    return series_of(
        key,
        [true_value(point["value"]) for point in points],
        [int(point["timestamp"]) for point in points],
        [int(point.get("step", 0)) for point in points],
    )


def run_of(found: Document) -> Run:
    """`Run` of MLflow's API; its state is the latest of each metric, as JSON."""
    info, data = found["info"], found.get("data", {})
    inputs, outputs = found.get("inputs", {}), found.get("outputs", {})
    latest = {
        point["key"]: [str(point["value"]), point["timestamp"], point.get("step", 0)]
        for point in data.get("metrics", ())
    }
    tags = _pairs(data.get("tags"))
    return Run(
        run_id=info.get("run_id") or info["run_uuid"],
        name=info.get("run_name") or tags.get("mlflow.runName", ""),
        user_id=info.get("user_id") or "",
        status=run_status(info.get("status")),
        start_time=_integer(info.get("start_time")) or 0,
        end_time=_integer(info.get("end_time")),
        lifecycle_stage=stage_of(info.get("lifecycle_stage")),
        params=_pairs(data.get("params")),
        tags=tags,
        datasets=[_dataset(one) for one in inputs.get("dataset_inputs", ())],
        model_inputs=[one["model_id"] for one in inputs.get("model_inputs", ())],
        model_outputs=[
            (one["model_id"], int(one.get("step", 0))) for one in outputs.get("model_outputs", ())
        ],
        artifact_uri=info.get("artifact_uri") or "",
        state=json.dumps(latest, sort_keys=True),
    )


def _dataset(found: Document) -> Dataset:
    dataset = found["dataset"]
    return Dataset(
        name=dataset["name"],
        digest=dataset["digest"],
        source_type=dataset["source_type"],
        source=dataset["source"],
        schema=dataset.get("schema"),
        profile=dataset.get("profile"),
        tags=_pairs(found.get("tags")),
    )


def model_of(found: Document) -> Model:
    """`LoggedModel` of MLflow's API."""
    info, data = found["info"], found.get("data", {})
    return Model(
        model_id=info["model_id"],
        name=info["name"],
        model_type=info.get("model_type") or "",
        status=model_status(info.get("status")),
        status_message=info.get("status_message") or "",
        source_run_id=info.get("source_run_id") or "",
        creation_timestamp_ms=_integer(info.get("creation_timestamp_ms")) or 0,
        last_updated_timestamp_ms=_integer(info.get("last_updated_timestamp_ms")) or 0,
        params=_pairs(data.get("params")),
        tags=_pairs(info.get("tags")),
        metrics=[
            ModelPoint(
                key=point["key"],
                value=true_value(point["value"]),
                timestamp=int(point["timestamp"]),
                step=int(point.get("step", 0)),
                run_id=point.get("run_id") or "",
                dataset_name=point.get("dataset_name") or "",
                dataset_digest=point.get("dataset_digest") or "",
            )
            for point in data.get("metrics", ())
        ],
        artifact_uri=info.get("artifact_uri") or "",
    )


def registered_model_of(found: Document, versions: Iterable[Document]) -> RegisteredModel:
    """`RegisteredModel` of MLflow's API, with all its versions."""
    return RegisteredModel(
        name=found["name"],
        description=found.get("description") or "",
        tags=_pairs(found.get("tags")),
        aliases={one["alias"]: int(one["version"]) for one in found.get("aliases", ())},
        versions=sorted(map(_version_of, versions), key=lambda one: one.number),
    )


def _version_of(found: Document) -> ModelVersion:
    run_id = found.get("run_id") or ""
    return ModelVersion(
        number=int(found["version"]),
        source=_source_here(found["source"], run_id),
        run_id=run_id,
        model_id=found.get("model_id") or "",
        run_link=found.get("run_link") or "",
        description=found.get("description") or "",
        stage=found.get("current_stage") or "None",
        tags=_pairs(found.get("tags")),
    )


def _source_here(source: str, run_id: str) -> str:
    """Files of a run or a logged model by its id, which is the same everywhere."""
    _, in_run, path = source.partition(f"/{run_id}/artifacts/")
    if run_id and in_run:
        return f"runs:/{run_id}/{path}"
    _, in_model, path = source.partition("/models/m-")
    if in_model:
        return f"models:/m-{path.partition('/')[0]}"
    return source


def _pairs(entries: object) -> dict[str, str]:
    found = entries if isinstance(entries, list) else []
    return {entry["key"]: entry.get("value", "") for entry in found}


def _integer(value: object) -> int | None:
    return int(value) if isinstance(value, (int, str)) and value != "" else None
