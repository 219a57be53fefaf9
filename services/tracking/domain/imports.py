"""What an importer brings from elsewhere: an experiment, a run with its past, a logged model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.errors import Conflict, InvalidInput
from headrace.events import RunReported
from services.tracking.domain.entities import (
    DatasetInput,
    Experiment,
    LifecycleStage,
    ModelMetric,
    ModelOutput,
)
from services.tracking.domain.entries import Entry

FINGERPRINT_TAG: Final = "headrace.import.fingerprint"
"""On a run or model that was imported to its end: what the source looked like then."""

MAX_ASKED: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """The experiment that something imported belongs to, known by its name."""

    name: str
    lifecycle_stage: LifecycleStage = "active"
    creation_time: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedRun:
    """A run, or a part of one: `report` is what a producer might have reported."""

    report: RunReported
    entry: Entry
    user_id: str = ""
    lifecycle_stage: LifecycleStage = "active"
    datasets: Sequence[DatasetInput] = ()
    model_inputs: Sequence[str] = ()
    model_outputs: Sequence[ModelOutput] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedModel:
    """A logged model with its id; times are milliseconds since the epoch."""

    model_id: str
    name: str
    model_type: str
    status: str
    status_message: str
    source_run_id: str
    creation_timestamp: int
    last_updated_timestamp: int
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[ModelMetric] = ()


def check_home(home: Home, found: Experiment) -> None:
    """Refuse what is alive at its source and would be hidden here. Raises Conflict."""
    if found.lifecycle_stage != "active" and home.lifecycle_stage == "active":
        raise Conflict(
            f"experiment {home.name!r} is deleted here and active at the source: "
            "restore it, or rename one of the two"
        )


def check_residence(what: str, *, lives_in: str, home: Experiment) -> None:
    """Refuse what belongs to another experiment already. Raises Conflict."""
    if lives_in != home.experiment_id:
        raise Conflict(
            f"{what} belongs to experiment {lives_in} here, "
            f"not to {home.name!r} ({home.experiment_id})"
        )


def check_asked(count: int, *, field: str) -> None:
    """Bound a question. Raises InvalidInput."""
    if count > MAX_ASKED:
        raise InvalidInput(f"{field}: at most {MAX_ASKED} at once, got {count}", field=field)
