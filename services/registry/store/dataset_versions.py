"""Making dataset versions: under the dataset's lock, from segments to the stored version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from headrace.events import Segment
from headrace.ids import new_id
from headrace.runtime.db import Connection
from services.registry.domain import datasets as rules
from services.registry.domain.datasets import Dataset, DatasetVersion, Origin
from services.registry.store import datasets


@dataclass(frozen=True, kw_only=True, slots=True)
class Arriving:
    """Segments that arrive for a dataset, and what they promise."""

    project: str
    dataset: str
    origin: Origin
    model: str | None
    segments: Sequence[Segment]
    labelled_through: datetime | None
    correlation_id: str


async def append(
    connection: Connection, arriving: Arriving, *, now: datetime
) -> DatasetVersion | None:
    """The version after the latest plus what is new of these segments.

    None when nothing is new: neither a segment nor the promise of `labelled_through`. Costs what
    is appended, however many segments the dataset has.
    """
    dataset = await _lock(connection, arriving, now)
    parent = await datasets.find(
        connection, project=dataset.project, name=dataset.name, version=None
    )
    known = await datasets.ordinals(
        connection, dataset=dataset, digests=[segment.digest for segment in arriving.segments]
    )
    fresh = rules.unknown_segments(arriving.segments, known)
    promise = _later(parent.labelled_through if parent else None, arriving.labelled_through)
    if not fresh and parent is not None and promise == parent.labelled_through:
        return None
    added = await datasets.add_segments(connection, dataset=dataset, segments=fresh)
    before = _ordinals(parent.spans) if parent else []
    version = DatasetVersion(
        project=dataset.project,
        dataset=dataset.name,
        version=dataset.last_version + 1,
        digest=rules.chain(
            parent.digest if parent else rules.EMPTY_DIGEST, [s.digest for s in fresh]
        ),
        parent_version=parent.version if parent else None,
        rows=(parent.rows if parent else 0) + sum(segment.rows for segment in fresh),
        segments=(parent.segments if parent else 0) + len(fresh),
        spans=rules.spans([*before, *added]),
        origin=dataset.origin,
        model=dataset.model,
        labelled_through=promise,
        event_id=new_id(),
        correlation_id=arriving.correlation_id,
        created_at=now,
    )
    await datasets.add_version(connection, dataset=dataset, version=version)
    return version


async def upload(
    connection: Connection, arriving: Arriving, *, now: datetime
) -> tuple[DatasetVersion, bool]:
    """A version of exactly these segments, and whether it was made: the same content is one."""
    dataset = await _lock(connection, arriving, now)
    digest = rules.chain(rules.EMPTY_DIGEST, [segment.digest for segment in arriving.segments])
    same = await datasets.with_content(
        connection, dataset=dataset, digest=digest, labelled_through=arriving.labelled_through
    )
    if same is not None:
        return same, False
    ordinals = await datasets.add_segments(connection, dataset=dataset, segments=arriving.segments)
    version = DatasetVersion(
        project=dataset.project,
        dataset=dataset.name,
        version=dataset.last_version + 1,
        digest=digest,
        parent_version=dataset.last_version or None,
        rows=sum(segment.rows for segment in arriving.segments),
        segments=len(arriving.segments),
        spans=rules.spans(ordinals),
        origin=dataset.origin,
        model=dataset.model,
        labelled_through=arriving.labelled_through,
        event_id=new_id(),
        correlation_id=arriving.correlation_id,
        created_at=now,
    )
    await datasets.add_version(connection, dataset=dataset, version=version)
    return version, True


async def _lock(connection: Connection, arriving: Arriving, now: datetime) -> Dataset:
    dataset = await datasets.lock(
        connection,
        project=arriving.project,
        name=arriving.dataset,
        origin=arriving.origin,
        model=arriving.model,
        now=now,
    )
    taken = rules.take_over(dataset, origin=arriving.origin, model=arriving.model)
    if taken != dataset:
        await datasets.change(connection, dataset=taken)
    return taken


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)


def _ordinals(spans: Sequence[tuple[int, int]]) -> list[int]:
    return [ordinal for first, last in spans for ordinal in range(first, last + 1)]
