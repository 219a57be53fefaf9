"""Compaction: the chunks of a run's many writes become few, and blocks of one metric each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

import asyncpg
import numpy as np

from headrace.runtime.db import Connection
from services.tracking.domain.chunks import Chunk, decode, encode
from services.tracking.domain.points import Columns, united
from services.tracking.domain.resolution import PARTS, extremes

OWN_BLOCK: Final = 4096
"""A metric with so many points in a compaction gets a block of its own."""
FULL: Final = 65_536
_FULL_ENOUGH: Final = FULL // 2
_MOST_POINTS: Final = 2 * FULL
WORTH_IT: Final = 32
"""Chunks of single writes that a run must have for a compaction, or else `FULL` points in them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A chunk that a compaction made; the preview only where it has one metric alone."""

    chunk: Chunk
    preview: Chunk | None
    first_step: int
    last_step: int


async def runs_to_compact(connection: Connection) -> list[str]:
    """Runs with enough chunks of single writes."""
    rows = await connection.fetch(
        "select run_id from metric_chunk where level = 0 group by run_id"
        " having count(*) >= $1 or sum(points) >= $2",
        WORTH_IT,
        FULL,
    )
    return [row["run_id"] for row in rows]


async def compact(connection: Connection, *, run_id: str) -> int:
    """Compact a run once, inside a transaction; returns how many chunks of writes it took.

    Chunks that the log still points to are left alone. The run is locked: folding waits.
    """
    await connection.execute("select from run where run_id = $1 for no key update", run_id)
    chosen = await _open_chunks(connection, run_id=run_id)
    fresh = [row["points"] for row in chosen if row["level"] == 0]
    if len(fresh) < WORTH_IT and sum(fresh) < FULL:
        return 0
    chunk_ids = [row["chunk_id"] for row in chosen]
    rows = await connection.fetch(
        "delete from metric_chunk where chunk_id = any($1) returning chunk_id, keys, codec, body",
        chunk_ids,
    )
    blocks = await asyncio.to_thread(_blocks_of, sorted(rows, key=itemgetter("chunk_id")))
    await _insert(connection, blocks, run_id=run_id)
    return len(fresh)


async def _open_chunks(connection: Connection, *, run_id: str) -> list[asyncpg.Record]:
    """Chunks of writes, the oldest first, and blocks that are not full of the same metrics.

    As many as one compaction takes, without what is in them.
    """
    rows = await connection.fetch(
        """
        select chunk_id, keys, level, points from metric_chunk as chunk
        where run_id = $1 and (level = 0 or points < $2)
            and not exists (select from run_log
                where run_log.run_id = $1 and run_log.chunk_id = chunk.chunk_id)
        order by level, chunk_id
        """,
        run_id,
        _FULL_ENOUGH,
    )
    taken: list[asyncpg.Record] = []
    points = 0
    keys: set[str] = set()
    for row in rows:
        if row["level"] and keys.isdisjoint(row["keys"]):
            continue
        points += row["points"]
        if points > _MOST_POINTS and taken and row["level"] == 0:
            continue
        taken.append(row)
        keys.update(row["keys"])
    return taken


def _blocks_of(rows: Sequence[asyncpg.Record]) -> list[Block]:
    columns = united(
        [decode(keys=tuple(row["keys"]), codec=row["codec"], body=row["body"]) for row in rows]
    )
    counts = np.bincount(columns.places, minlength=len(columns.keys))
    long = np.flatnonzero(counts >= OWN_BLOCK)
    blocks = [
        _block(piece, preview=True)
        for place in long.tolist()
        for piece in _cut(columns.only(columns.keys[place]))
    ]
    few = columns.at(np.flatnonzero(~np.isin(columns.places, long)))
    return [*blocks, *(_block(piece, preview=False) for piece in _cut_by_key(few))]


def _cut(columns: Columns) -> Iterator[Columns]:
    for start in range(0, len(columns), FULL):
        yield columns.between(start, start + FULL)


def _cut_by_key(columns: Columns) -> Iterator[Columns]:
    """Metrics with few points, together until a chunk is full, each whole in one."""
    bounds = np.flatnonzero(np.diff(columns.places)) + 1
    ends = np.append(bounds, len(columns)).tolist() if len(columns) else []
    start = 0
    for place, end in enumerate(ends):
        if place + 1 == len(ends) or ends[place + 1] - start > FULL:
            yield columns.between(start, end).pruned()
            start = end


def _block(columns: Columns, *, preview: bool) -> Block:
    return Block(
        chunk=encode(columns),
        preview=encode(extremes(columns, parts=PARTS)) if preview else None,
        first_step=int(columns.steps.min()),
        last_step=int(columns.steps.max()),
    )


async def _insert(connection: Connection, blocks: Sequence[Block], *, run_id: str) -> None:
    await connection.executemany(
        "insert into metric_chunk (run_id, level, keys, points, first_timestamp, last_timestamp,"
        " codec, body, preview_codec, preview, first_step, last_step)"
        " values ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        [
            (
                run_id,
                list(block.chunk.keys),
                block.chunk.points,
                block.chunk.first_timestamp,
                block.chunk.last_timestamp,
                block.chunk.codec,
                block.chunk.body,
                block.preview.codec if block.preview is not None else None,
                block.preview.body if block.preview is not None else None,
                block.first_step,
                block.last_step,
            )
            for block in blocks
        ],
    )
