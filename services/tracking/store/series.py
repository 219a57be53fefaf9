"""Reading a metric: its whole history, a page of it, or what a screen shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.chunks import decode
from services.tracking.domain.points import Columns, merge_columns
from services.tracking.domain.resolution import by_step, within
from services.tracking.store import log

READ_WHOLE: Final = 300_000
"""Up to so many points a chart is drawn from the points themselves."""

_OF_KEY: Final = "run_id = $1 and $2 = any(keys)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Points `start` to before `start + len(columns)` of a history, and whether more follow."""

    columns: Columns
    more: bool


async def history(connection: Connection, *, run_id: str, key: str) -> Columns:
    """All points of a metric, by timestamp, step and value; each once.

    The log is read first: what is folded in between is seen twice, which merging undoes. Chunks
    come by time, so that most often nothing is left to sort.
    """
    small = await log.small_parts(connection, run_id=run_id, key=key)
    rows = await connection.fetch(
        f"select keys, codec, body from metric_chunk where {_OF_KEY} order by first_timestamp",  # noqa: S608
        run_id,
        key,
    )
    return merge_columns(key, [*map(_decoded, rows), *small])


async def page(connection: Connection, *, run_id: str, key: str, start: int, limit: int) -> Page:
    """A part of the history; of a long one only the blocks that it lies in are read."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _page(connection, run_id=run_id, key=key, start=start, limit=limit)


async def _page(connection: Connection, *, run_id: str, key: str, start: int, limit: int) -> Page:
    small = await log.small_parts(connection, run_id=run_id, key=key)
    rows = await connection.fetch(
        "select chunk_id, level, cardinality(keys) as metrics, points, first_timestamp,"  # noqa: S608
        f" last_timestamp from metric_chunk where {_OF_KEY}"
        " order by first_timestamp, last_timestamp, chunk_id",
        run_id,
        key,
    )
    oldest = min((int(part.timestamps.min()) for part in small), default=None)
    skipped, first, last = _blocks_of_page(rows, oldest, start=start, end=start + limit)
    wanted = [row["chunk_id"] for row in rows[first:last]]
    found = await connection.fetch(
        "select keys, codec, body from metric_chunk where chunk_id = any($1)"
        " order by first_timestamp",
        wanted,
    )
    parts = [*map(_decoded, found), *(small if last == len(rows) else [])]
    columns = merge_columns(key, parts)
    begin = start - skipped
    more = begin + limit < len(columns) or last < len(rows)
    return Page(columns=columns.between(begin, begin + limit), more=more)


async def series(
    connection: Connection, *, run_id: str, key: str, steps: tuple[int, int] | None = None
) -> Columns:
    """Points of a metric by step, for a chart: all of them, or of a long one the previews.

    `steps` are both ends of the interval that is shown.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _series(connection, run_id=run_id, key=key, steps=steps)


async def _series(
    connection: Connection, *, run_id: str, key: str, steps: tuple[int, int] | None
) -> Columns:
    small = await log.small_parts(connection, run_id=run_id, key=key)
    low, high = steps if steps is not None else (None, None)
    rows = await connection.fetch(
        "select chunk_id, preview is not null as has_preview, points from metric_chunk"  # noqa: S608
        f" where {_OF_KEY} and ($3::bigint is null or coalesce(last_step, $3) >= $3)"
        " and ($4::bigint is null or coalesce(first_step, $4) <= $4)",
        run_id,
        key,
        low,
        high,
    )
    from_afar = sum(row["points"] for row in rows if row["has_preview"]) > READ_WHOLE
    seen_from_afar = [row["chunk_id"] for row in rows if from_afar and row["has_preview"]]
    whole = [row["chunk_id"] for row in rows if not (from_afar and row["has_preview"])]
    found = await connection.fetch(
        "select keys, preview_codec as codec, preview as body, first_timestamp from metric_chunk"
        " where chunk_id = any($1) union all"
        " select keys, codec, body, first_timestamp from metric_chunk where chunk_id = any($2)"
        " order by first_timestamp",
        seen_from_afar,
        whole,
    )
    columns = by_step(merge_columns(key, [*map(_decoded, found), *small]))
    return columns if steps is None else within(columns, steps)


def _blocks_of_page(
    rows: Sequence[asyncpg.Record], oldest: int | None, *, start: int, end: int
) -> tuple[int, int, int]:
    """Points before the blocks of a page, and the places of the first and behind the last.

    Compacted blocks can be counted without a look inside as long as each holds this metric alone
    and ends before everything else begins: from the first that does not on, all have to be read.
    """
    skipped = counted = first = 0
    for place, row in enumerate(rows):
        following = rows[place + 1]["first_timestamp"] if place + 1 < len(rows) else None
        later = [moment for moment in (following, oldest) if moment is not None]
        alone = row["level"] and row["metrics"] == 1
        if not alone or any(row["last_timestamp"] >= moment for moment in later):
            break
        if counted + row["points"] <= start:
            skipped = counted + row["points"]
            first = place + 1
        counted += row["points"]
        if counted >= end and place + 1 < len(rows):
            return skipped, first, place + 1
    return skipped, first, len(rows)


def _decoded(row: asyncpg.Record) -> Columns:
    return decode(keys=tuple(row["keys"]), codec=row["codec"], body=row["body"])
