"""Models and versions as the registry holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from headrace.events import FileRef, ModelVersionCreated

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A registered model; `aliases` by name give version numbers."""

    id: str
    project: str
    name: str
    description: str | None
    last_version: int
    created_at: datetime
    updated_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Where a version's files lie; without `digest` nobody has verified what they are.

    `source` is the source as it is to be kept, where that is not as it was given.
    """

    source: str | None = None
    location: str | None = None
    run_id: str | None = None
    logged_model_id: str | None = None
    digest: str | None = None
    files: tuple[FileRef, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NewVersion:
    """What a client asks to be registered, and what was found at its source."""

    model: str
    source: str
    content: Content
    run_link: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def idempotency_key(self) -> str | None:
        """Tag `headrace.idempotency_key`: the same key again names the same version."""
        return self.tags.get("headrace.idempotency_key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A model version; source, files and digest never change."""

    id: str
    project: str
    model_id: str
    model: str
    version: int
    source: str
    location: str | None
    run_id: str | None
    logged_model_id: str | None
    run_link: str | None
    description: str | None
    stage: str
    digest: str | None
    event_id: str
    correlation_id: str
    created_at: datetime
    updated_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        return self.digest is not None

    def created(self, files: tuple[FileRef, ...]) -> ModelVersionCreated:
        """The fact of its birth."""
        return ModelVersionCreated(
            project=self.project,
            model=self.model,
            version=self.version,
            source=self.source,
            run_id=self.run_id or None,
            logged_model_id=self.logged_model_id or None,
            digest=self.digest,
            files=list(files),
            tags=dict(self.tags),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What became of a version's conversion to ONNX; `files` were derived from its own."""

    outcome: Literal["converted", "native"]
    reason: str
    files: tuple[FileRef, ...]
    max_difference: float | None
    recorded_rows: int
    sampled_rows: int
    event_id: str
    finished_at: datetime


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)
