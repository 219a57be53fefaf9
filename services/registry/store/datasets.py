"""Datasets: segments are stored once, a version is a list of spans over them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import asyncpg

from headrace.errors import NotFound, Refused
from headrace.events import Segment
from headrace.ids import new_id
from headrace.runtime.db import Connection
from services.registry.domain import datasets as rules
from services.registry.domain.datasets import Dataset, DatasetVersion, Origin

_VERSION = """
select d.project, d.name as dataset, v.version, v.digest, v.parent_version, v.rows, v.segments,
    v.spans, v.origin, v.model, v.labelled_through, v.event_id, v.correlation_id, v.created_at
from dataset_version v join dataset d on d.id = v.dataset_id
"""


async def lock(
    connection: Connection,
    *,
    project: str,
    name: str,
    origin: Origin,
    model: str | None,
    now: datetime,
) -> Dataset:
    """The dataset, made if it is new; nobody else adds a version before this commits."""
    row = await connection.fetchrow(
        "insert into dataset as d (id, project, name, origin, model, created_at)"
        " values ($1, $2, $3, $4, $5, $6)"
        " on conflict (project, name) do update set name = d.name"
        " returning id, project, name, origin, model, last_version",
        new_id(),
        project,
        name,
        origin,
        model,
        now,
    )
    if row is None:  # an upsert always returns its row
        raise NotFound(f"dataset {name} vanished while it was locked")
    return Dataset(**{**row, "id": str(row["id"])})


async def change(connection: Connection, *, dataset: Dataset) -> None:
    """Write down who writes to a locked dataset, and whose predictions it holds."""
    await connection.execute(
        "update dataset set origin = $2, model = $3 where id = $1",
        dataset.id,
        dataset.origin,
        dataset.model,
    )


async def add_segments(
    connection: Connection, *, dataset: Dataset, segments: Sequence[Segment]
) -> list[int]:
    """Ordinals of the segments, in their order; those already stored keep theirs.

    Raises Refused when a place that holds one content is said to hold another.
    """
    known = await ordinals(connection, dataset=dataset, digests=[s.digest for s in segments])
    fresh = rules.unknown_segments(segments, known)
    if fresh:
        first = await connection.fetchval(
            "update dataset set last_ordinal = last_ordinal + $2 where id = $1"
            " returning last_ordinal - $2 + 1",
            dataset.id,
            len(fresh),
        )
        known |= {segment.digest: first + place for place, segment in enumerate(fresh)}
        await _insert_segments(connection, dataset, fresh, first)
    return [known[segment.digest] for segment in segments]


async def ordinals(
    connection: Connection, *, dataset: Dataset, digests: Sequence[str]
) -> dict[str, int]:
    """Ordinal of each of the contents that is stored."""
    rows = await connection.fetch(
        "select digest, ordinal from dataset_segment"
        " where dataset_id = $1 and digest = any($2::text[])",
        dataset.id,
        list(digests),
    )
    return {row["digest"]: row["ordinal"] for row in rows}


async def add_version(connection: Connection, *, dataset: Dataset, version: DatasetVersion) -> None:
    """Store the next version of a locked dataset."""
    await connection.execute(
        "insert into dataset_version (project, dataset_id, version, digest, parent_version, rows,"
        " segments, spans, origin, model, labelled_through, event_id, correlation_id, created_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        version.project,
        dataset.id,
        version.version,
        version.digest,
        version.parent_version,
        version.rows,
        version.segments,
        [ordinal for span in version.spans for ordinal in span],
        version.origin,
        version.model,
        version.labelled_through,
        version.event_id,
        version.correlation_id,
        version.created_at,
    )
    await connection.execute(
        "update dataset set last_version = $2 where id = $1", dataset.id, version.version
    )


async def get(
    connection: Connection, *, project: str, name: str, version: int | None
) -> DatasetVersion:
    """A version, None: the latest. Raises NotFound."""
    found = await find(connection, project=project, name=name, version=version)
    if found is None:
        named = "any version" if version is None else f"version {version}"
        raise NotFound(f"dataset {name} does not have {named}")
    return found


async def find(
    connection: Connection, *, project: str, name: str, version: int | None
) -> DatasetVersion | None:
    """As `get`, None if there is none."""
    row = await connection.fetchrow(
        f"{_VERSION} where d.project = $1 and d.name = $2"
        " and v.version = coalesce($3, d.last_version)",
        project,
        name,
        version,
    )
    return None if row is None else _read(row)


async def with_content(
    connection: Connection, *, dataset: Dataset, digest: str, labelled_through: datetime | None
) -> DatasetVersion | None:
    """The version that has exactly this content and promise, if there is one."""
    row = await connection.fetchrow(
        f"{_VERSION} where v.dataset_id = $1 and v.digest = $2"
        " and v.labelled_through is not distinct from $3 order by v.version limit 1",
        dataset.id,
        digest,
        labelled_through,
    )
    return None if row is None else _read(row)


async def every(connection: Connection, *, project: str) -> list[DatasetVersion]:
    """The latest version of every dataset, by name."""
    rows = await connection.fetch(
        f"{_VERSION} where d.project = $1 and v.version = d.last_version order by d.name", project
    )
    return [_read(row) for row in rows]


async def versions(
    connection: Connection, *, project: str, name: str, limit: int
) -> list[DatasetVersion]:
    """Versions of one dataset, newest first."""
    rows = await connection.fetch(
        f"{_VERSION} where d.project = $1 and d.name = $2 order by v.version desc limit $3",
        project,
        name,
        limit,
    )
    return [_read(row) for row in rows]


async def segments(
    connection: Connection, *, project: str, name: str, version: int
) -> list[Segment]:
    """Every segment of a version, in its order."""
    rows = await connection.fetch(
        "select s.uri, s.digest, s.size, s.rows, s.first_event_time, s.last_event_time,"
        " s.observed_through"
        " from dataset d join dataset_version v on v.dataset_id = d.id,"
        " generate_series(1, cardinality(v.spans), 2) as place,"
        " dataset_segment s"
        " where d.project = $1 and d.name = $2 and v.version = $3 and s.dataset_id = d.id"
        " and s.ordinal between v.spans[place] and v.spans[place + 1]"
        " order by place, s.ordinal",
        project,
        name,
        version,
    )
    return [Segment(**row) for row in rows]


async def _insert_segments(
    connection: Connection, dataset: Dataset, fresh: Sequence[Segment], first: int
) -> None:
    try:
        async with connection.transaction():
            await connection.executemany(
                "insert into dataset_segment (project, dataset_id, ordinal, uri, digest, size,"
                " rows, first_event_time, last_event_time, observed_through)"
                " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                [
                    (
                        dataset.project,
                        dataset.id,
                        first + place,
                        segment.uri,
                        segment.digest,
                        segment.size,
                        segment.rows,
                        segment.first_event_time,
                        segment.last_event_time,
                        segment.observed_through,
                    )
                    for place, segment in enumerate(fresh)
                ],
            )
    except asyncpg.UniqueViolationError as error:
        raise Refused(
            f"dataset {dataset.name}: one place cannot hold two contents ({error.detail})"
        ) from error


def _read(row: asyncpg.Record) -> DatasetVersion:
    flat = row["spans"]
    spans = tuple(pair for place, pair in enumerate(pairwise(flat)) if place % 2 == 0)
    return DatasetVersion(**{**row, "spans": spans, "event_id": str(row["event_id"])})
