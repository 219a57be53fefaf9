"""Entities as MLflow's JSON: snake_case, what is unset left out, NaN and infinities as words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray

from services.tracking.domain.entities import (
    DatasetInput,
    Experiment,
    LatestMetrics,
    LoggedModel,
    Metric,
    ModelMetric,
    Registration,
    Run,
    RunInfo,
)
from services.tracking.domain.points import Columns

Document = dict[str, object]


def experiment_document(experiment: Experiment) -> Document:
    """`Experiment` of MLflow's API."""
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": experiment.lifecycle_stage,
        "last_update_time": experiment.last_update_time,
        "creation_time": experiment.creation_time,
        **_some("tags", pairs_document(experiment.tags)),
    }


def info_document(info: RunInfo) -> Document:
    """`RunInfo` of MLflow's API."""
    document: Document = {
        "run_uuid": info.run_id,
        "run_id": info.run_id,
        "run_name": info.name,
        "experiment_id": info.experiment_id,
        "user_id": info.user_id,
        "status": info.status,
        "start_time": info.start_time,
        "artifact_uri": info.artifact_uri,
        "lifecycle_stage": info.lifecycle_stage,
    }
    if info.end_time is not None:
        document["end_time"] = info.end_time
    return document


def run_document(run: Run) -> Document:
    """`Run` of MLflow's API."""
    data = {
        **_some("metrics", latest_document(run.metrics)),
        **_some("params", pairs_document(run.params)),
        **_some("tags", pairs_document(run.tags)),
    }
    inputs = {
        **_some("dataset_inputs", [dataset_document(dataset) for dataset in run.datasets]),
        **_some("model_inputs", [{"model_id": model_id} for model_id in run.model_inputs]),
    }
    outputs = _some(
        "model_outputs",
        [{"model_id": output.model_id, "step": output.step} for output in run.model_outputs],
    )
    return {"info": info_document(run.info), "data": data, "inputs": inputs, "outputs": outputs}


def latest_document(metrics: LatestMetrics) -> list[Document]:
    """The metrics of a run."""
    values: Iterable[float | str] = metrics.values
    if not all(map(math.isfinite, metrics.values)):
        values = map(number, metrics.values)
    return [
        {"key": key, "value": value, "timestamp": timestamp, "step": step}
        for key, value, timestamp, step in zip(
            metrics.keys, values, metrics.timestamps, metrics.steps, strict=True
        )
    ]


def metric_document(metric: Metric) -> Document:
    """`Metric` of MLflow's API."""
    return {
        "key": metric.key,
        "value": number(metric.value),
        "timestamp": metric.timestamp,
        "step": metric.step,
    }


def dataset_document(dataset: DatasetInput) -> Document:
    """`DatasetInput` of MLflow's API."""
    inner: Document = {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
    }
    if dataset.schema is not None:
        inner["schema"] = dataset.schema
    if dataset.profile is not None:
        inner["profile"] = dataset.profile
    return {**_some("tags", pairs_document(dataset.tags)), "dataset": inner}


def model_document(model: LoggedModel) -> Document:
    """`LoggedModel` of MLflow's API."""
    info = {
        "model_id": model.model_id,
        "experiment_id": model.experiment_id,
        "name": model.name,
        "creation_timestamp_ms": model.creation_timestamp,
        "last_updated_timestamp_ms": model.last_updated_timestamp,
        "artifact_uri": model.artifact_location,
        "status": model.status,
        "model_type": model.model_type,
        "source_run_id": model.source_run_id,
        "status_message": model.status_message,
        **_some("tags", pairs_document(model.tags)),
        **_some("registrations", [_registration_document(one) for one in model.registrations]),
    }
    data = {
        **_some("params", pairs_document(model.params)),
        **_some("metrics", [_model_metric_document(metric) for metric in model.metrics]),
    }
    return {"info": info, "data": data}


def _registration_document(registration: Registration) -> Document:
    return {"name": registration.name, "version": str(registration.version)}


def points_document(parts: Iterable[bytes]) -> orjson.Fragment:
    """A JSON array of what `points_json` made."""
    return orjson.Fragment(b"[" + b",".join(part for part in parts if part) + b"]")


def points_json(columns: Columns, *, key: str, run_id: str | None = None) -> bytes:
    """Points of one metric, in the order of the columns, as JSON objects between commas.

    It is put together from columns of numbers: objects of their own for 25,000 points would
    take twice as long.
    """
    count = len(columns)
    if not count:
        return b""
    start = b'{"key":' + orjson.dumps(key) + b',"value":'
    end = b"}" if run_id is None else b',"run_id":' + orjson.dumps(run_id) + b"}"
    pieces = [b""] * (6 * count + 1)
    pieces[0:-1:6] = [end + b"," + start] * count
    pieces[1::6] = _values(columns)
    pieces[2::6] = [b',"timestamp":'] * count
    pieces[3::6] = _numbers(columns.timestamps)
    pieces[4::6] = [b',"step":'] * count
    pieces[5::6] = _numbers(columns.steps)
    pieces[0] = start
    pieces[-1] = end
    return b"".join(pieces)


def columns_document(columns: Columns) -> Document:
    """Points of one metric, column by column."""
    return {
        "key": columns.keys[0],
        "values": [number(value) for value in columns.values.tolist()],
        "timestamps": columns.timestamps.tolist(),
        "steps": columns.steps.tolist(),
    }


def pairs_document(pairs: Mapping[str, str]) -> list[Document]:
    """Params or tags."""
    return [{"key": key, "value": value} for key, value in pairs.items()]


def files_document(files: Iterable[tuple[str, int | None]]) -> list[Document]:
    """Files and directories of an artifact listing: path, and size or None for a directory."""
    return [
        {"path": path, "is_dir": True}
        if size is None
        else {"path": path, "is_dir": False, "file_size": size}
        for path, size in files
    ]


def number(value: float) -> float | str:
    """A double as protobuf's JSON has it."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _model_metric_document(entry: ModelMetric) -> Document:
    document = {**metric_document(entry.metric), "model_id": entry.model_id}
    for name in ("run_id", "dataset_name", "dataset_digest"):
        if getattr(entry, name):
            document[name] = getattr(entry, name)
    return document


def _values(columns: Columns) -> list[bytes]:
    if np.isfinite(columns.values).all():
        return _numbers(columns.values)
    return [orjson.dumps(number(value)) for value in columns.values.tolist()]


def _numbers(column: NDArray[np.float64] | NDArray[np.int64]) -> list[bytes]:
    contiguous = np.ascontiguousarray(column)
    return orjson.dumps(contiguous, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _some(name: str, entries: list[Document]) -> Document:
    return {name: entries} if entries else {}
