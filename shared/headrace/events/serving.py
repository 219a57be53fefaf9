"""Events of serving. The prediction log itself is binary: `proto/headrace/serving/v1`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.events.base import Digest, EventData, FileRef, Moment, Name


class ModelDeployed(EventData):
    """Every worker answers with this version now."""

    model: Name
    version: int = Field(ge=1)
    alias: Name = "champion"
    previous_version: int | None = None
    digest: Digest
    files: list[FileRef] = Field(default_factory=list)
    converted: bool = Field(default=False, description="Whether its conversion to ONNX answers")
    reason: str = Field(
        default="", description="Why the model itself answers, where there is a conversion"
    )
    deployed_at: Moment
    load_ms: float = Field(ge=0, description="Fetch, verify and warm-up, before the flip")
    swap_ms: float = Field(ge=0, description="The flip itself, over all workers")


class ConversionFinished(EventData):
    """A version was converted to ONNX, or is served as it is; then `reason` says why."""

    model: Name
    version: int = Field(ge=1)
    digest: Digest = Field(description="Of the version's files")
    outcome: Literal["converted", "native"]
    reason: str = ""
    files: list[FileRef] = Field(
        default_factory=list, description="The ONNX model and its parity report, if converted"
    )
    max_difference: float | None = Field(
        default=None, ge=0, description="Largest difference of a number, over all rows"
    )
    recorded_rows: int = Field(default=0, ge=0, description="Real rows that were compared")
    sampled_rows: int = Field(default=0, ge=0, description="Rows drawn around those")
    finished_at: Moment


class DeploymentFailed(EventData):
    """A version could not be deployed; `kept_version` goes on answering."""

    model: Name
    version: int = Field(ge=1)
    alias: Name = "champion"
    kept_version: int | None = None
    reason: str
    failed_at: Moment


class DeploymentState(EventData):
    """What answers for a model now; a tombstone says that nothing does."""

    model: Name
    version: int = Field(ge=1)
    alias: Name = "champion"
    previous_version: int | None = None
    digest: Digest
    files: list[FileRef] = Field(default_factory=list)
    deployed_at: Moment = Field(description="Since when every worker answers with it")
    deployed_event: str = Field(description="Id of the ModelDeployed that told of it")
    promoted_event: str = Field(description="Id of the ModelPromoted that caused it")


class FirstAnswerServed(EventData):
    """A newly deployed version gave its first answer to a client."""

    model: Name
    version: int = Field(ge=1)
    prediction_id: str
    served_at: Moment
