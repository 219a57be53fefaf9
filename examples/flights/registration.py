"""Logging and registering with the unmodified mlflow client."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.events.registry import GateEvidence
from headrace.pipelines import StepContext
from headrace.pipelines.mlflow_client import connect_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROFILE: Final = "training-profile.bin"
_REQUIRED: Final = ("mlflow", "numpy", "onnx", "onnxruntime")


def register(
    context: StepContext,
    *,
    model: str,
    onnx: bytes,
    profile: bytes,
    metrics: Mapping[str, float],
    evidence: GateEvidence,
) -> int:
    """One mlflow run with parameters, metrics and the model's files, then a model version.

    The version holds exactly these bytes as `model.onnx`. Repeating the step for the same
    pipeline run gives the same version again.
    """
    import mlflow  # noqa: PLC0415  preloaded in a worker

    connect_mlflow(context)
    directory = _model_directory(context.scratch / "model", onnx, profile)
    tags = _tags(context, evidence)
    mlflow.set_experiment(model)
    with mlflow.start_run(run_name=f"{model}-{context.run_id[-12:]}", tags=tags) as run:
        mlflow.log_params(_parameters(context, evidence))
        mlflow.log_metrics(dict(metrics))
        mlflow.log_artifacts(str(directory), "model")
        mlflow.log_text(context.manifest().decode(), "run-manifest.json")
    context.log("run_logged", mlflow_run=run.info.run_id)
    client = mlflow.MlflowClient()
    _ensure_model(client, model)
    created = client.create_model_version(
        name=model,
        source=f"{run.info.artifact_uri}/model",
        run_id=run.info.run_id,
        tags={**tags, "headrace.idempotency_key": f"{context.run_id}/{context.step}"},
    )
    context.log("registered", version=created.version)
    return int(created.version)


def _model_directory(directory: Path, onnx: bytes, profile: bytes) -> Path:
    import mlflow.onnx  # noqa: PLC0415  preloaded in a worker
    from onnx import load_model_from_string  # noqa: PLC0415

    mlflow.onnx.save_model(
        load_model_from_string(onnx),
        str(directory),
        pip_requirements=[f"{name}=={version(name)}" for name in _REQUIRED],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    # mlflow serializes anew: what was evaluated is what is registered, byte for byte.
    (directory / "model.onnx").write_bytes(onnx)
    (directory / PROFILE).write_bytes(profile)
    return directory


def _tags(context: StepContext, evidence: GateEvidence) -> dict[str, str]:
    trigger = context.trigger
    tags = {
        "headrace.pipeline_run_id": context.run_id,
        "headrace.pipeline": context.run.pipeline,
        "headrace.dataset": evidence.dataset,
        "headrace.dataset_version": str(evidence.dataset_version),
        "headrace.dataset_digest": evidence.dataset_digest,
        "headrace.drift_epoch": str(trigger.get("drift_epoch", "")),
        "headrace.drift_event_id": str(trigger.get("drift_event_id", "")),
    }
    return {name: value for name, value in tags.items() if value}


def _parameters(context: StepContext, evidence: GateEvidence) -> dict[str, object]:
    return {
        **context.run.parameters,
        "dataset_version": evidence.dataset_version,
        "seed": context.run.seed,
        "evaluation_rows": evidence.rows,
        "champion_version": evidence.champion_version,
    }


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
