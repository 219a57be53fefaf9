"""Metric chunks and summaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.chunks import Chunk, decode, encode
from services.tracking.domain.entities import ModelMetric
from services.tracking.domain.points import Columns, Point, Points, columns_of, merge_columns
from services.tracking.domain.summaries import At, Summary, summarise


async def write_points(
    connection: Connection, *, run_id: str, points: Points
) -> dict[str, Summary]:
    """Add points to a locked run; points that are there already are dropped.

    Returns the state of each metric that got new points; empty for a repetition.
    """
    if not len(points):
        return {}
    columns = columns_of(points)
    digest = columns.digest()
    before = await get_summaries(connection, run_id=run_id, keys=columns.keys)
    suspects = _maybe_repeated(columns, before)
    if suspects:
        if await _has_chunk(connection, run_id=run_id, digest=digest):
            return {}
        columns = await _without_stored(connection, run_id=run_id, columns=columns, keys=suspects)
        if not len(columns):
            return {}
    touched = summarise(columns, before)
    await _insert_chunk(connection, run_id=run_id, chunk=encode(columns, digest=digest))
    await _put_summaries(connection, run_id=run_id, summaries=touched.values())
    return touched


async def history(connection: Connection, *, run_id: str, key: str) -> Columns:
    """All points of a metric, by timestamp, step and value; each once."""
    rows = await connection.fetch(
        "select keys, codec, body from metric_chunk where run_id = $1 and keys @> array[$2]"
        " order by chunk_id",
        run_id,
        key,
    )
    return merge_columns(key, [_decoded(row) for row in rows])


async def get_summaries(
    connection: Connection, *, run_id: str, keys: Sequence[str] | None = None
) -> dict[str, Summary]:
    """State of the metrics of a run: of some keys, or of all."""
    rows = await connection.fetch(
        "select * from metric_summary where run_id = $1 and ($2::text[] is null or key = any($2))",
        run_id,
        list(keys) if keys is not None else None,
    )
    return {row["key"]: _summary_of(row) for row in rows}


async def add_model_metrics(connection: Connection, metrics: Sequence[ModelMetric]) -> None:
    """Note points with the models that they were logged for; each once."""
    await connection.execute(
        """
        insert into logged_model_metric
            (model_id, key, timestamp, step, run_id, value, dataset_name, dataset_digest)
        select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[],
            $6::double precision[], $7::text[], $8::text[])
        on conflict do nothing
        """,
        [entry.model_id for entry in metrics],
        [entry.metric.key for entry in metrics],
        [entry.metric.timestamp for entry in metrics],
        [entry.metric.step for entry in metrics],
        [entry.run_id for entry in metrics],
        [entry.metric.value for entry in metrics],
        [entry.dataset_name for entry in metrics],
        [entry.dataset_digest for entry in metrics],
    )


def _maybe_repeated(columns: Columns, before: Mapping[str, Summary]) -> list[str]:
    """Keys with a point that is not after everything stored: only those can be repetitions."""
    suspects = []
    moments = list(zip(columns.steps.tolist(), columns.timestamps.tolist(), strict=True))
    for key, place in columns.by_key():
        last = before[key].last if key in before else None
        if last is not None and min(moments[place]) <= (last.step, last.timestamp):
            suspects.append(key)
    return suspects


async def _has_chunk(connection: Connection, *, run_id: str, digest: bytes) -> bool:
    return bool(
        await connection.fetchval(
            "select exists(select from metric_chunk where run_id = $1 and digest = $2)",
            run_id,
            digest,
        )
    )


async def _without_stored(
    connection: Connection, *, run_id: str, columns: Columns, keys: Sequence[str]
) -> Columns:
    rows = await connection.fetch(
        "select keys, codec, body from metric_chunk where run_id = $1 and keys && $2::text[]"
        " and first_timestamp <= $4 and last_timestamp >= $3",
        run_id,
        list(keys),
        int(columns.timestamps.min()),
        int(columns.timestamps.max()),
    )
    stored = {_identity(point) for row in rows for point in _decoded(row).points()}
    return columns_of(
        Points.of(point for point in columns.points() if _identity(point) not in stored)
    )


def _identity(point: Point) -> tuple[str, str, int, int]:
    key, value, timestamp, step = point
    return key, value.hex(), timestamp, step


async def _insert_chunk(connection: Connection, *, run_id: str, chunk: Chunk) -> None:
    await connection.execute(
        "insert into metric_chunk (run_id, digest, keys, points, first_timestamp, last_timestamp,"
        " codec, body) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        run_id,
        chunk.digest,
        list(chunk.keys),
        chunk.points,
        chunk.first_timestamp,
        chunk.last_timestamp,
        chunk.codec,
        chunk.body,
    )


async def _put_summaries(
    connection: Connection, *, run_id: str, summaries: Iterable[Summary]
) -> None:
    ordered = sorted(summaries, key=attrgetter("key"))
    await connection.execute(
        _PUT_SUMMARIES,
        run_id,
        [one.key for one in ordered],
        [one.last.value for one in ordered],
        [one.last.step for one in ordered],
        [one.last.timestamp for one in ordered],
        [one.first.value for one in ordered],
        [one.first.step for one in ordered],
        [one.first.timestamp for one in ordered],
        [one.minimum for one in ordered],
        [one.minimum_step for one in ordered],
        [one.maximum for one in ordered],
        [one.maximum_step for one in ordered],
        [one.count for one in ordered],
        [one.total for one in ordered],
        [one.nans for one in ordered],
        [one.infinities for one in ordered],
    )


_PUT_SUMMARIES = """
insert into metric_summary (run_id, experiment_id, key, last_value, last_step, last_timestamp,
    first_value, first_step, first_timestamp, minimum, minimum_step, maximum, maximum_step, points,
    total, nans, infinities)
select run.run_id, run.experiment_id, given.*
from run, unnest($2::text[], $3::float8[], $4::bigint[], $5::bigint[], $6::float8[],
    $7::bigint[], $8::bigint[], $9::float8[], $10::bigint[], $11::float8[], $12::bigint[],
    $13::bigint[], $14::float8[], $15::bigint[], $16::bigint[]) as given
where run.run_id = $1
on conflict (run_id, key) do update set
    last_value = excluded.last_value, last_step = excluded.last_step,
    last_timestamp = excluded.last_timestamp, first_value = excluded.first_value,
    first_step = excluded.first_step, first_timestamp = excluded.first_timestamp,
    minimum = excluded.minimum, minimum_step = excluded.minimum_step,
    maximum = excluded.maximum, maximum_step = excluded.maximum_step,
    points = excluded.points, total = excluded.total, nans = excluded.nans,
    infinities = excluded.infinities
"""


def _decoded(row: asyncpg.Record) -> Columns:
    return decode(keys=tuple(row["keys"]), codec=row["codec"], body=row["body"])


def _summary_of(row: asyncpg.Record) -> Summary:
    return Summary(
        key=row["key"],
        last=At(row["last_step"], row["last_timestamp"], row["last_value"]),
        first=At(row["first_step"], row["first_timestamp"], row["first_value"]),
        minimum=row["minimum"],
        minimum_step=row["minimum_step"],
        maximum=row["maximum"],
        maximum_step=row["maximum_step"],
        count=row["points"],
        total=row["total"],
        nans=row["nans"],
        infinities=row["infinities"],
    )
