"""Dataset versions: ordered lists of immutable segments, named by a chained content digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from headrace.errors import Conflict, InvalidInput, Refused
from headrace.events import DatasetVersionCreated, Segment

Origin = Literal["upload", "labelled"]

EMPTY_DIGEST: Final = "sha256:" + hashlib.sha256(b"headrace.dataset.v1").hexdigest()
"""Digest of the empty list of segments: where every chain begins."""

MAX_SEGMENTS: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A named dataset; `origin` is who wrote to it last, `model` whose predictions it holds."""

    id: str
    project: str
    name: str
    origin: Origin
    model: str | None
    last_version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetVersion:
    """One version. `spans` are inclusive (first, last) ordinals of stored segments, in order."""

    project: str
    dataset: str
    version: int
    digest: str
    parent_version: int | None
    rows: int
    segments: int
    spans: tuple[tuple[int, int], ...]
    origin: Origin
    model: str | None
    labelled_through: datetime | None
    event_id: str
    correlation_id: str
    created_at: datetime

    def as_event(self) -> DatasetVersionCreated:
        return DatasetVersionCreated(
            project=self.project,
            dataset=self.dataset,
            version=self.version,
            digest=self.digest,
            parent_version=self.parent_version,
            rows=self.rows,
            segments=self.segments,
            origin=self.origin,
            model=self.model,
            labelled_through=self.labelled_through,
        )


def chain(digest: str, segments: Iterable[str]) -> str:
    """Digest of a list whose head has `digest`, after `segments` (their digests) were appended.

    chain(chain(d, a), b) == chain(d, a + b), so appending costs only what is appended.
    """
    for segment in segments:
        digest = "sha256:" + hashlib.sha256(f"{digest}\n{segment}".encode()).hexdigest()
    return digest


def spans(ordinals: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Ordinals in their order as inclusive runs: 1 2 3 7 8 5 -> (1,3) (7,8) (5,5)."""
    runs: list[tuple[int, int]] = []
    for ordinal in ordinals:
        if runs and runs[-1][1] + 1 == ordinal:
            runs[-1] = (runs[-1][0], ordinal)
        else:
            runs.append((ordinal, ordinal))
    return tuple(runs)


def unknown_segments(segments: Sequence[Segment], known: Iterable[str]) -> list[Segment]:
    """Segments whose content is not among the `known` digests, each content once, in order."""
    seen = set(known)
    fresh = []
    for segment in segments:
        if segment.digest not in seen:
            seen.add(segment.digest)
            fresh.append(segment)
    return fresh


def take_over(dataset: Dataset, *, origin: Origin, model: str | None) -> Dataset:
    """The dataset as it is once these segments are in.

    People may begin a dataset by an upload (history that the platform did not see); from its
    first labelled segment on it is the platform's and takes no more uploads (Conflict). Neither
    takes another model's predictions (Refused).
    """
    if origin == "upload" and dataset.origin == "labelled":
        raise Conflict(
            f"dataset {dataset.name} is written by the platform from logged predictions; "
            "upload under another name"
        )
    if model is not None and dataset.model is not None and dataset.model != model:
        raise Refused(
            f"dataset {dataset.name} holds predictions of model {dataset.model}, not of {model}"
        )
    return replace(dataset, origin=origin, model=dataset.model or model)


def check_upload(segments: Sequence[Segment]) -> None:
    """Raises InvalidInput naming the segment that cannot be part of an upload."""
    if not 1 <= len(segments) <= MAX_SEGMENTS:
        raise InvalidInput(
            f"segments: expected 1 to {MAX_SEGMENTS}, got {len(segments)}", field="segments"
        )
    seen: set[str] = set()
    for place, segment in enumerate(segments):
        if segment.digest in seen:
            raise InvalidInput(
                f"segments.{place}: content {segment.digest} stands twice in the list",
                field=f"segments.{place}.digest",
            )
        seen.add(segment.digest)
        if segment.last_event_time < segment.first_event_time:
            raise InvalidInput(
                f"segments.{place}: last_event_time is before first_event_time",
                field=f"segments.{place}.last_event_time",
            )
