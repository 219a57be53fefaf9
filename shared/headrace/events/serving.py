"""Events of serving. The prediction log itself is binary: `proto/headrace/serving/v1`."""

from __future__ import annotations

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
    deployed_at: Moment
    load_ms: float = Field(ge=0, description="Fetch, verify and warm-up, before the flip")
    swap_ms: float = Field(ge=0, description="The flip itself, over all workers")


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
