"""Closed event-days and the segments written for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import asyncpg

from headrace.runtime.db import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedDay:
    """One event-day of one version, complete.

    `labelled` of its `predictions` had a label when the day closed. These stand for `estimated`
    predictions, where a sample is logged. `leads`: it made at least half of the model's
    predictions. `schema` is what `statistics` (DayStatistics) are kept under.
    """

    version: int
    day: int
    predictions: int
    estimated: float
    labelled: int
    auc: float | None
    log_loss: float | None
    positive_rate: float | None
    mean_score: float | None
    closed_at_us: int
    leads: bool
    schema: Mapping[str, Any]
    statistics: bytes

    def under(self, schema: Mapping[str, Any], statistics: bytes) -> ClosedDay:
        """The same day, its statistics kept under another schema."""
        return replace(self, schema=schema, statistics=statistics)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSegment:
    """A segment in the blob store."""

    day: int
    uri: str
    digest: str
    size: int
    row_count: int
    first_event_us: int
    last_event_us: int
    observed_through_us: int


_DAY = tuple(field.name for field in fields(ClosedDay))


async def due(
    connection: Connection, model_id: int, *, after: int | None, before: int
) -> list[int]:
    """Days in between (both ends out) that have predictions or labels, in order."""
    rows = await connection.fetch(
        """
        select day from (
            select unnest(days) as day from prediction_batch
            where model_id = $1 and last_day > $2
            union
            select segment_day from label
            where model_id = $1 and segment_day > $2 and segment_day < $3
        ) as found
        where day > $2 and day < $3 order by day
        """,
        model_id,
        -(2**31) if after is None else after,
        before,
    )
    return [row["day"] for row in rows]


async def add_closed(connection: Connection, model_id: int, day: ClosedDay) -> None:
    """Record a closed day; one that is recorded already is replaced."""
    await connection.execute(
        """
        insert into closed_day (model_id, version, day, predictions, estimated, labelled, auc,
            log_loss, positive_rate, mean_score, closed_at_us, leads, schema, statistics)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        on conflict (model_id, day, version) do update
            set schema = excluded.schema, statistics = excluded.statistics
        """,
        model_id,
        *(getattr(day, name) for name in _DAY),
    )


async def closed_after(
    connection: Connection, model_id: int, version: int, *, day: int | None
) -> list[ClosedDay]:
    """A version's closed days after a day, in order."""
    rows = await connection.fetch(
        "select * from closed_day where model_id=$1 and version=$2 and day > $3 order by day",
        model_id,
        version,
        -(2**31) if day is None else day,
    )
    return [_day(row) for row in rows]


async def page(
    connection: Connection, model_id: int, *, after: int | None, limit: int
) -> list[ClosedDay]:
    """Closed days of all versions after a day, in order of day and version."""
    rows = await connection.fetch(
        "select * from closed_day where model_id=$1 and day > $2 order by day, version limit $3",
        model_id,
        -(2**31) if after is None else after,
        limit,
    )
    return [_day(row) for row in rows]


async def add_segments(
    connection: Connection, model_id: int, segments: Sequence[StoredSegment]
) -> None:
    """Record segments."""
    await connection.executemany(
        "insert into segment (model_id, day, uri, digest, size, row_count, first_event_us,"
        " last_event_us, observed_through_us) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (
                model_id,
                segment.day,
                segment.uri,
                segment.digest,
                segment.size,
                segment.row_count,
                segment.first_event_us,
                segment.last_event_us,
                segment.observed_through_us,
            )
            for segment in segments
        ],
    )


async def segments(connection: Connection, model_id: int) -> list[StoredSegment]:
    """All segments of a model, in order."""
    rows = await connection.fetch(
        "select day, uri, digest, size, row_count, first_event_us, last_event_us,"
        " observed_through_us from segment where model_id=$1 order by day, digest",
        model_id,
    )
    return [StoredSegment(**dict(row)) for row in rows]


def _day(row: asyncpg.Record) -> ClosedDay:
    known = {name: row[name] for name in _DAY}
    if known["estimated"] is None:
        known["estimated"] = known["predictions"]
    return ClosedDay(**known)
