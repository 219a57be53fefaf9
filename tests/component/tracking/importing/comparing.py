"""Two stores seen through the unmodified client: what differs between them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Experiment, LoggedModel, Run, ViewType

OWN = "headrace.import."
_HUGE = 1.7976931348623157e308


def contents(uri: str, *, prefix: str, directory: Path) -> dict[str, Any]:
    """All experiments whose names begin with the prefix, by name, with what is in them."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    return {
        found.name: _experiment(client, found, directory)
        for found in client.search_experiments(view_type=ViewType.ALL)
        if found.name.startswith(prefix)
    }


def differences(found: object, expected: object, *, at: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two documents differ: path, what was found and what was expected."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return {
            path: pair
            for key in found.keys() | expected.keys()
            for path, pair in differences(
                found.get(key, "nothing"), expected.get(key, "nothing"), at=f"{at}/{key}"
            ).items()
        }
    return {} if found == expected else {at: (found, expected)}


def _experiment(client: MlflowClient, found: Experiment, directory: Path) -> dict[str, Any]:
    number = found.experiment_id
    runs = client.search_runs([number], run_view_type=ViewType.ALL, max_results=1000)
    models = client.search_logged_models([number])
    return {
        "stage": found.lifecycle_stage,
        "created": found.creation_time,
        "tags": _tags(found.tags),
        "runs": {
            run.info.run_id: _run(client, client.get_run(run.info.run_id), directory)
            for run in runs
        },
        "models": {model.model_id: _model(model, directory) for model in models},
    }


def _run(client: MlflowClient, run: Run, directory: Path) -> dict[str, Any]:
    info, data = run.info, run.data
    return {
        "info": (info.run_name, info.user_id, info.status, info.start_time, info.end_time),
        "stage": info.lifecycle_stage,
        "params": data.params,
        "tags": _tags(data.tags),
        "latest": {key: _value(value) for key, value in data.metrics.items()},
        "points": {key: _points(client, info.run_id, key) for key in data.metrics},
        "datasets": [
            (one.dataset.to_dictionary(), sorted((tag.key, tag.value) for tag in one.tags))
            for one in run.inputs.dataset_inputs
        ],
        "used": [one.model_id for one in run.inputs.model_inputs],
        "made": [(one.model_id, one.step) for one in run.outputs.model_outputs],
        "files": _files(f"runs:/{info.run_id}/", directory / info.run_id)
        if info.lifecycle_stage == "active"
        else {},
    }


def _model(model: LoggedModel, directory: Path) -> dict[str, Any]:
    return {
        "info": (model.name, model.model_type or "", model.status, model.source_run_id),
        "times": (model.creation_timestamp, model.last_updated_timestamp),
        "params": model.params,
        "tags": _tags(model.tags),
        "metrics": [(one.key, one.value, one.step, one.timestamp) for one in model.metrics or ()],
        "files": _files(f"models:/{model.model_id}", directory / model.model_id),
    }


def _points(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, int, str]]:
    history = client.get_metric_history(run_id, key)
    return sorted((one.step, one.timestamp, _value(one.value)) for one in history)


def _value(value: float) -> str:
    """Infinities as such: MLflow's own store keeps them as the largest double."""
    return repr(math.copysign(math.inf, value) if abs(value) >= _HUGE else float(value))


def _files(uri: str, directory: Path) -> dict[str, bytes]:
    directory.mkdir(parents=True)
    root = Path(download_artifacts(artifact_uri=uri, dst_path=str(directory)))
    files = (file for file in root.rglob("*") if file.is_file())
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


def _tags(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(OWN)}
