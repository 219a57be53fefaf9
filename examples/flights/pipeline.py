"""The flights pipeline: from a dataset version to a request to promote what was trained on it.

    snapshot -> train -> convert -> evaluate -> register -> promote

What is evaluated is the ONNX file, and the file that is evaluated is the one that is registered.
A step sees data only as a dataset version of the registry, verified segment by segment.
"""

from __future__ import annotations

import pickle
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from examples.flights import registration, training
from examples.flights.evidence import gate_evidence, log_loss_of
from examples.flights.segments import read_segments, table_of
from examples.flights.training import FittedModel, Rows
from headrace.events.registry import GateEvidence
from headrace.pipelines import Retry, StepContext, pipeline, step
from headrace.pipelines.context import File
from headrace.profiles import TrainingProfile

PRELOAD = (
    "headrace.client.platform",
    "headrace.pipelines.mlflow_client",
    "mlflow.onnx",
    "mlflow.store.artifact.mlflow_artifacts_repo",
    "onnx.checker",
    "onnx.helper",
    "pyarrow.parquet",
    "sklearn.ensemble",
    "sklearn.metrics",
)
"""Imported once by a worker. Not onnxruntime: it starts a thread when it is imported."""


class Snapshot(NamedTuple):
    """A dataset version; `known_by` is the event time up to which its labels are used."""

    rows: pa.Table
    version: int
    digest: str
    known_by: datetime | None


class Trained(NamedTuple):
    """A pickled FittedModel, its training profile, and the rows kept from both."""

    model: bytes
    profile: bytes
    holdout: pa.Table
    training_rows: int


class Converted(NamedTuple):
    """ONNX bytes, and by how much they differ at most from the fitted model."""

    onnx: bytes
    parity: float


class Judged(NamedTuple):
    """Evidence for the gate, and every metric of the challenger."""

    evidence: GateEvidence
    metrics: dict[str, float]


@step(retry=Retry(attempts=4, backoff=0.5), timeout="5m")
def snapshot(context: StepContext, dataset: str, dataset_version: int) -> Snapshot:
    """The rows of a dataset version (0: the newest)."""
    found = context.dataset(dataset, dataset_version or None)
    context.log("dataset_fetched", version=found.version, segments=len(found.paths))
    known_by = datetime.fromisoformat(found.labelled_through) if found.labelled_through else None
    rows = read_segments(found.paths)
    context.log("dataset_read", rows=rows.num_rows)
    return Snapshot(rows, found.version, found.digest, known_by)


@step(timeout="20m")
def train(context: StepContext, rows: pa.Table, known_by: datetime | None) -> Trained:
    """Fit on all but the latest days, profile every day out of sample."""
    known = Rows.from_table(rows)
    if known_by is not None:
        known = known.known_by(known_by)
    fitting, holdout = training.split(known, seed=context.seed)
    context.log("training", rows=len(fitting), holdout=len(holdout))
    model = training.fit(fitting, seed=context.seed)
    context.log("profiling", rows=len(fitting))
    profile = training.training_profile(model, fitting, holdout, seed=context.seed)
    return Trained(pickle.dumps(model), profile.to_bytes(), table_of(holdout), len(fitting))


@step(timeout="10m")
def convert(context: StepContext, model: bytes, holdout: pa.Table) -> Converted:
    """ONNX of the model; Refused unless both answer alike on every row of the hold-out."""
    # Written by the step before, checked against its digest, read inside the sandbox.
    fitted: FittedModel = pickle.loads(model)  # noqa: S301
    onnx = training.to_onnx(fitted)
    parity = training.check_parity(onnx, fitted, Rows.from_table(holdout))
    context.log("converted", bytes=len(onnx), largest_difference=parity, rows=holdout.num_rows)
    return Converted(onnx, parity)


@step(retry=Retry(attempts=4, backoff=0.5), timeout="10m")
def evaluate(
    context: StepContext,
    model: str,
    dataset: str,
    version: int,
    digest: str,
    onnx: bytes,
    holdout: pa.Table,
) -> Judged:
    """Challenger against the present champion on the same rows."""
    rows = Rows.from_table(holdout)
    challenger = training.evaluate(onnx, rows)
    champion_version, champion = None, None
    found = context.platform.champion(model)
    if found is not None:
        champion_version = int(found["version"])
        champion = training.evaluate(_champion_onnx(context, found), rows)
    evidence = gate_evidence(
        dataset=dataset,
        dataset_version=version,
        dataset_digest=digest,
        challenger=challenger,
        champion=champion,
        champion_version=champion_version,
    )
    context.log(
        "evaluated",
        rows=len(rows),
        log_loss=log_loss_of(challenger),
        champion_log_loss=log_loss_of(champion),
        passed=evidence.passed,
    )
    return Judged(evidence, challenger.to_document())


@step(retry=Retry(attempts=4, backoff=0.5), timeout="5m")
def register(
    context: StepContext,
    model: str,
    onnx: bytes,
    profile: bytes,
    judged_metrics: dict[str, float],
    evidence: GateEvidence,
    training_rows: int,
    parity: float,
) -> int:
    """Log the run and its model with the mlflow client; returns the version in the registry."""
    TrainingProfile.from_bytes(profile)
    return registration.register(
        context,
        model=model,
        onnx=onnx,
        profile=profile,
        metrics={**judged_metrics, "conversion_difference": parity, "training_rows": training_rows},
        evidence=evidence,
    )


@step(retry=Retry(attempts=4, backoff=0.5), timeout="2m")
def promote(context: StepContext, model: str, version: int, evidence: GateEvidence) -> str:
    """Ask for promotion; returns approved, waiting or rejected."""
    decided = context.request_promotion(
        model, version, evidence=evidence, comment=f"run {context.run_id}"
    )
    context.log("promotion_requested", outcome=decided.outcome, reason=decided.reason)
    return decided.outcome


@pipeline(name="flights", preload=PRELOAD)
def flights(model: str, dataset: str, dataset_version: int = 0) -> None:
    """Retrain `model` on a version of `dataset` (0: the newest)."""
    data = snapshot(dataset, dataset_version)
    trained = train(data.rows, data.known_by)
    converted = convert(trained.model, trained.holdout)
    judged = evaluate(model, dataset, data.version, data.digest, converted.onnx, trained.holdout)
    version = register(
        model,
        converted.onnx,
        trained.profile,
        judged.metrics,
        judged.evidence,
        trained.training_rows,
        converted.parity,
    )
    promote(model, version, judged.evidence)


def _champion_onnx(context: StepContext, champion: dict[str, object]) -> bytes:
    files = champion["files"]
    assert isinstance(files, list)  # noqa: S101  by the registry's contract
    file = next(entry for entry in files if entry["path"].endswith("model.onnx"))
    (path,) = context.fetch(File(uri=file["uri"], digest=file["digest"]))
    return path.read_bytes()
