"""What tracking keeps of a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

NAME_TAG: Final = "mlflow.traceName"
LOCATION_TAG: Final = "mlflow.artifactLocation"
SPANS_TAG: Final = "mlflow.trace.spansLocation"
PROMPTS_TAG: Final = "mlflow.linkedPrompts"
RUN_METADATA: Final = "mlflow.sourceRun"
SESSION_METADATA: Final = "mlflow.trace.session"
USER_METADATA: Final = "mlflow.trace.user"
SIZE_METADATA: Final = "mlflow.trace.sizeStats"

TraceState = Literal["STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"]
STATES: Final[tuple[TraceState, ...]] = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")

AssessmentKind = Literal["feedback", "expectation", "issue"]
KINDS: Final[tuple[AssessmentKind, ...]] = ("feedback", "expectation", "issue")


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """Feedback on a trace, what was expected of it, or an issue that it belongs to.

    `value` is any JSON; times are milliseconds since the epoch. An assessment that another
    overrides is not `valid`.
    """

    assessment_id: str
    trace_id: str
    kind: AssessmentKind
    name: str
    source_type: str
    source_id: str | None
    value: object
    error: Mapping[str, object] | None = None
    span_id: str | None = None
    rationale: str | None = None
    metadata: Mapping[str, str] | None = None
    overrides: str | None = None
    valid: bool = True
    create_time: int
    last_update_time: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTrace:
    """What a client says of a trace when it has ended; times are milliseconds."""

    trace_id: str
    experiment: int
    request_time: int
    execution_duration: int | None
    state: TraceState
    name: str | None = None
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    assessments: Sequence[Assessment] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """A trace without its spans; `blocks` say where those are."""

    trace_id: str
    experiment_id: str
    artifact_root: str
    request_time: int
    execution_duration: int | None
    state: TraceState
    name: str | None
    client_request_id: str | None
    request_preview: str | None
    response_preview: str | None
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    blocks: Sequence[int]
    assessments: Sequence[Assessment] = ()

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags as clients see them: with the name, and where files and spans are."""
        name = {} if self.name is None else {NAME_TAG: self.name}
        return {
            **self.tags,
            **name,
            LOCATION_TAG: self.artifact_root,
            SPANS_TAG: "TRACKING_STORE",
        }


def trace_artifact_root(experiment_root: str, trace_id: str) -> str:
    """Where the files of a trace lie."""
    return f"{experiment_root.rstrip('/')}/traces/{trace_id}/artifacts"
