"""Metric chunks and summaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce

import asyncpg
import numpy as np
from numpy.typing import NDArray

from headrace.runtime.db import Connection
from services.tracking.domain.chunks import Chunk, decode
from services.tracking.domain.entities import ModelMetric
from services.tracking.domain.points import Columns, spans
from services.tracking.domain.summaries import (
    Extremes,
    Floats,
    Integers,
    Moments,
    Summaries,
    Summary,
    joined,
    no_summaries,
)
from services.tracking.store.arrays import array_text

_STATE = (
    "run_id, key, last_value, last_step, last_timestamp, first_value, first_step, first_timestamp,"
    " minimum, minimum_step, maximum, maximum_step, points, total, nans, infinities"
)


async def summaries_of_run(connection: Connection, *, run_id: str) -> list[Summary]:
    """State of all metrics of a run whose log is folded."""
    rows = await connection.fetch(
        f"select {_STATE} from metric_summary where run_id = $1 order by key",  # noqa: S608
        run_id,
    )
    return list(_summaries_of(rows))


async def summaries_of(
    connection: Connection, wanted: Mapping[str, Sequence[str]]
) -> dict[str, Summaries]:
    """State of some metrics of some runs; runs without any of them are left out."""
    pairs = [(run_id, key) for run_id, keys in wanted.items() for key in keys]
    rows = await connection.fetch(
        f"select {_STATE} from unnest($1::text[], $2::text[]) as wanted (run_id, key)"  # noqa: S608
        " join metric_summary using (run_id, key)",
        [run_id for run_id, _ in pairs],
        [key for _, key in pairs],
    )
    by_run: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        by_run.setdefault(row["run_id"], []).append(row)
    return {run_id: _summaries_of(group) for run_id, group in by_run.items()}


async def overlapping(connection: Connection, *, run_id: str, columns: Columns) -> list[Columns]:
    """Folded chunks of a run that may hold one of these points."""
    first, last = spans(columns.timestamps)
    rows = await connection.fetch(
        "select keys, codec, body from metric_chunk as chunk where run_id = $1"
        " and exists (select from unnest($2::bigint[], $3::bigint[]) as span (first, last)"
        " where last_timestamp >= span.first and first_timestamp <= span.last) and keys && $4"
        " and not exists (select from run_log"
        " where run_log.run_id = $1 and run_log.chunk_id = chunk.chunk_id)",
        run_id,
        first.tolist(),
        last.tolist(),
        list(columns.keys),
    )
    return [_decoded(row) for row in rows]


async def insert_chunks(connection: Connection, chunks: Sequence[tuple[str, Chunk]]) -> None:
    """Store chunks, each of a run."""
    await connection.execute(
        "insert into metric_chunk (run_id, keys, points, first_timestamp, last_timestamp,"
        " codec, body) select run_id, string_to_array(keys, chr(10)), points, first, last,"
        " codec, body from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::bigint[],"
        " $6::smallint[], $7::bytea[]) as given (run_id, keys, points, first, last, codec, body)",
        [run_id for run_id, _ in chunks],
        ["\n".join(chunk.keys) for _, chunk in chunks],
        [chunk.points for _, chunk in chunks],
        [chunk.first_timestamp for _, chunk in chunks],
        [chunk.last_timestamp for _, chunk in chunks],
        [chunk.codec for _, chunk in chunks],
        [chunk.body for _, chunk in chunks],
    )


async def delete_chunks(connection: Connection, chunk_ids: Sequence[int]) -> None:
    """Remove chunks."""
    await connection.execute("delete from metric_chunk where chunk_id = any($1)", list(chunk_ids))


async def put_summaries(connection: Connection, summaries: Mapping[str, Summaries]) -> None:
    """Store states of metrics of locked runs; those of others stay as they are.

    Numbers travel as the text of arrays: the driver would look at each of them in Python.
    """
    ordered = [(run_id, summaries[run_id]) for run_id in sorted(summaries)]
    whole = reduce(joined, (one for _, one in ordered))
    await connection.execute(
        _PUT_SUMMARIES,
        [run_id for run_id, one in ordered for _ in range(len(one))],
        list(whole.keys),
        *map(array_text, _numbers_of(whole)),
    )


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


_PUT_SUMMARIES = f"""
insert into metric_summary (experiment_id, {_STATE})
select run.experiment_id, given.*
from unnest($1::text[], $2::text[], $3::text::float8[], $4::text::bigint[], $5::text::bigint[],
    $6::text::float8[], $7::text::bigint[], $8::text::bigint[], $9::text::float8[],
    $10::text::bigint[], $11::text::float8[], $12::text::bigint[], $13::text::bigint[],
    $14::text::float8[], $15::text::bigint[], $16::text::bigint[])
    as given (run_id, key)
join run on run.run_id = given.run_id
on conflict (run_id, key) do update set
    last_value = excluded.last_value, last_step = excluded.last_step,
    last_timestamp = excluded.last_timestamp, first_value = excluded.first_value,
    first_step = excluded.first_step, first_timestamp = excluded.first_timestamp,
    minimum = excluded.minimum, minimum_step = excluded.minimum_step,
    maximum = excluded.maximum, maximum_step = excluded.maximum_step,
    points = excluded.points, total = excluded.total, nans = excluded.nans,
    infinities = excluded.infinities
"""  # noqa: S608 - columns are ours


def _numbers_of(summaries: Summaries) -> Iterator[Floats | Integers | list[object]]:
    """Columns in the order of the statement; where there is no extreme it is NULL."""
    for moments in (summaries.last, summaries.first):
        yield from (moments.value, moments.step, moments.timestamp)
    for extremes in (summaries.minimum, summaries.maximum):
        yield from ([*column] for column in extremes.optional())
    yield from (summaries.count, summaries.total, summaries.nans, summaries.infinities)


def _summaries_of(rows: Sequence[asyncpg.Record]) -> Summaries:
    if not rows:
        return no_summaries()
    columns = dict(zip(rows[0].keys(), zip(*rows, strict=True), strict=True))

    def floats(name: str) -> NDArray[np.float64]:
        return np.array(columns[name], dtype=np.float64)

    def integers(name: str) -> NDArray[np.int64]:
        return np.array([value or 0 for value in columns[name]], dtype=np.int64)

    return Summaries(
        keys=columns["key"],
        last=Moments(integers("last_step"), integers("last_timestamp"), floats("last_value")),
        first=Moments(integers("first_step"), integers("first_timestamp"), floats("first_value")),
        minimum=Extremes(floats("minimum"), integers("minimum_step")),
        maximum=Extremes(floats("maximum"), integers("maximum_step")),
        count=integers("points"),
        total=floats("total"),
        nans=integers("nans"),
        infinities=integers("infinities"),
    )


def _decoded(row: asyncpg.Record) -> Columns:
    return decode(keys=tuple(row["keys"]), codec=row["codec"], body=row["body"])
