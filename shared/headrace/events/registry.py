"""Events of the registry: datasets, model versions, promotions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.events.base import Digest, EventData, FileRef, Moment, Name, Part


class DatasetVersionCreated(EventData):
    """A dataset has a new version; a version is an ordered list of immutable segments."""

    dataset: Name
    version: int = Field(ge=1)
    digest: Digest
    parent_version: int | None = None
    rows: int = Field(ge=0)
    segments: int = Field(ge=1, description="Segments in the whole version")
    origin: Literal["upload", "labelled"]
    model: Name | None = Field(default=None, description="Model whose predictions it holds")
    labelled_through: Moment | None = Field(
        default=None, description="Every label observed up to here is in (event time)"
    )


class ModelVersionCreated(EventData):
    """A model version exists; its files and digests never change."""

    model: Name
    version: int = Field(ge=1)
    source: str
    run_id: str | None = None
    logged_model_id: str | None = Field(
        default=None, description="MLflow's model_id of the logged model that it was made from"
    )
    digest: Digest | None = Field(default=None, description="Of its files; None: unverified")
    files: list[FileRef] = Field(default_factory=list)
    tags: dict[str, str] = Field(default_factory=dict)


class ModelVersionConverted(EventData):
    """A version has a conversion to ONNX now, beside its own files, which stay as they are."""

    model: Name
    version: int = Field(ge=1)
    digest: Digest
    files: list[FileRef]
    converted: list[FileRef]


class MetricPair(Part):
    """One metric of both models on the same rows."""

    metric: Name
    champion: float | None = None
    challenger: float
    higher_is_better: bool


class GateEvidence(Part):
    """What the gate judged: both models on the same labelled dataset version."""

    dataset: Name
    dataset_version: int
    dataset_digest: Digest
    rows: int = Field(ge=0)
    champion_version: int | None = None
    metrics: list[MetricPair]
    passed: bool
    reasons: list[str] = Field(default_factory=list, description="Why it did not pass")


class PromotionRequested(EventData):
    """Somebody asks that a version take an alias; serving may prove and warm it already."""

    request_id: Name
    model: Name
    version: int = Field(ge=1)
    alias: Name = "champion"
    requested_by: Name
    digest: Digest
    files: list[FileRef]
    converted: list[FileRef] = Field(default_factory=list)
    champion_version: int | None = None


class PromotionDecided(EventData):
    """A promotion request was decided."""

    request_id: Name
    model: Name
    version: int = Field(ge=1)
    alias: Name = "champion"
    outcome: Literal["approved", "rejected", "waiting"]
    automatic: bool
    approver: str | None = None
    reason: str = ""
    evidence: GateEvidence | None = None


class ModelPromoted(EventData):
    """An alias points to a version now."""

    model: Name
    version: int = Field(ge=1)
    alias: Name = "champion"
    previous_version: int | None = None
    cause: Literal["promotion", "rollback"]
    request_id: str | None = None
    digest: Digest
    files: list[FileRef]
    converted: list[FileRef] = Field(default_factory=list)
    promoted_at: Moment


class ModelAliasState(EventData):
    """What an alias of a model points to now; a tombstone says that the alias is gone."""

    model: Name
    alias: Name
    version: int = Field(ge=1)
    previous_version: int | None = None
    rollback_version: int | None = Field(
        default=None, description="Version that a rollback of the champion leads to"
    )
    cause: Literal["promotion", "rollback", "set"]
    request_id: str | None = None
    digest: Digest | None = Field(default=None, description="Of its files; None: unverified")
    files: list[FileRef] = Field(default_factory=list)
    converted: list[FileRef] = Field(default_factory=list)
    moved_at: Moment = Field(description="Since when it points there")
    promoted_event: str | None = Field(
        default=None, description="Id of the ModelPromoted that told of it, where one did"
    )
