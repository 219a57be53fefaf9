"""What tracking keeps: experiments, runs, datasets, logged models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

RUN_NAME_TAG: Final = "mlflow.runName"
STOP_TAG: Final = "headrace.stopRequestedAt"
DATASET_CONTEXT_TAG: Final = "mlflow.data.context"
DEFAULT_EXPERIMENT: Final = 0

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
RUN_STATUSES: Final[tuple[RunStatus, ...]] = (
    "RUNNING",
    "SCHEDULED",
    "FINISHED",
    "FAILED",
    "KILLED",
)
FINAL_STATUSES: Final = frozenset({"FINISHED", "FAILED", "KILLED"})

LifecycleStage = Literal["active", "deleted"]
ViewType = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
STAGES: Final[Mapping[str, tuple[LifecycleStage, ...]]] = {
    "ACTIVE_ONLY": ("active",),
    "DELETED_ONLY": ("deleted",),
    "ALL": ("active", "deleted"),
}
MODEL_STATUSES: Final = (
    "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A named set of runs; times are milliseconds since the epoch."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: int
    last_update_time: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One point of a metric; the time is milliseconds since the epoch."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMetric:
    """A point that was logged for a model, by a run, perhaps on a dataset ("" if none)."""

    model_id: str
    metric: Metric
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInput:
    """A dataset that a run used, and what for (tags, `mlflow.data.context` among them)."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def context(self) -> str | None:
        """What the run used it for: training, evaluation, ..."""
        return self.tags.get(DATASET_CONTEXT_TAG)


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetUse:
    """That runs of an experiment used a dataset, in a context such as "training"."""

    experiment_id: str
    name: str
    digest: str
    context: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOutput:
    """A logged model that a run made, at a step."""

    model_id: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """A run without what was logged to it."""

    run_id: str
    experiment_id: str
    name: str
    user_id: str
    status: RunStatus
    start_time: int
    end_time: int | None
    artifact_uri: str
    lifecycle_stage: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestMetrics:
    """The latest point of each metric of a run: columns of one length, by key."""

    keys: Sequence[str] = ()
    values: Sequence[float] = ()
    timestamps: Sequence[int] = ()
    steps: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run and what was logged to it."""

    info: RunInfo
    metrics: LatestMetrics = field(default_factory=LatestMetrics)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DatasetInput] = ()
    model_inputs: Sequence[str] = ()
    model_outputs: Sequence[ModelOutput] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """A version of a registered model."""

    name: str
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModel:
    """A model that was logged; its files lie under `artifact_location`."""

    model_id: str
    experiment_id: str
    name: str
    artifact_location: str
    creation_timestamp: int
    last_updated_timestamp: int
    status: str
    model_type: str
    source_run_id: str
    status_message: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[ModelMetric] = ()
    registrations: Sequence[Registration] = ()


def run_artifact_root(experiment_root: str, run_id: str) -> str:
    """Where the artifacts of a run lie."""
    return f"{experiment_root.rstrip('/')}/{run_id}/artifacts"


def model_artifact_root(experiment_root: str, model_id: str) -> str:
    """Where the files of a logged model lie."""
    return f"{experiment_root.rstrip('/')}/models/{model_id}/artifacts"
