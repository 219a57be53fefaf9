"""Entries of the log as folding reads them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import asyncpg

from headrace.runtime.bus import Tx
from services.tracking.domain.entries import Chain
from services.tracking.domain.points import Columns, Point
from services.tracking.store.live import News
from services.tracking.store.log import WITH_POINTS, columns_of_row

MAX_ROWS: Final = 2000
MAX_POINTS: Final = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """A row of the log."""

    chunk_id: int | None
    points: Columns | Point | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    chain: Chain | None


async def rows_of(tx: Tx, run_ids: Sequence[str], *, last: int) -> list[asyncpg.Record]:
    """The oldest rows of locked runs, without their points: as many as one transaction takes.

    They come run by run, so that few transactions change the summaries of the same run.
    """
    rows = await tx.connection.fetch(
        "select log_id, run_id, chunk_id, points, told from run_log"
        " where run_id = any($1) and log_id <= $2 order by log_id limit $3",
        list(run_ids),
        last,
        MAX_ROWS,
    )
    turns: dict[str, int] = {}
    for row in rows:
        turns.setdefault(row["run_id"], len(turns))
    rows.sort(key=lambda row: turns[row["run_id"]])
    # Sorting more points would stall the loop.
    points = accumulate(row["points"] or 0 for row in rows)
    return [
        row
        for place, (row, sum_) in enumerate(zip(rows, points, strict=True))
        if sum_ <= MAX_POINTS or not place
    ]


async def read_entries(
    tx: Tx,
    rows: Sequence[asyncpg.Record],
    recent: MutableMapping[int, Columns | Point],
    news: list[News],
) -> dict[str, list[Logged]]:
    """What the rows hold, by run."""
    known = {row["log_id"]: recent.pop(row["log_id"], None) for row in rows if row["points"]}
    unknown = [log_id for log_id, points in known.items() if points is None]
    read = await _read(tx, unknown) if unknown else {}
    known |= read
    logged: dict[str, list[Logged]] = {}
    for row in rows:
        entry = _logged(row, known.get(row["log_id"]))
        logged.setdefault(row["run_id"], []).append(entry)
        untold = read.get(row["log_id"])
        if untold is not None or entry.params or entry.tags:
            news.append(
                News(run_id=row["run_id"], columns=untold, params=entry.params, tags=entry.tags)
            )
    return logged


async def _read(tx: Tx, log_ids: Sequence[int]) -> dict[int, Columns]:
    rows = await tx.connection.fetch(
        f"{WITH_POINTS} where log_id = any($1)",
        list(log_ids),
    )
    return {row["log_id"]: columns_of_row(row) for row in rows}


def _logged(row: asyncpg.Record, points: Columns | Point | None) -> Logged:
    told = row["told"] or {}
    chain = told.get("chain")
    return Logged(
        chunk_id=row["chunk_id"],
        points=points,
        params=told.get("params", {}),
        tags=told.get("tags", {}),
        chain=Chain(correlation_id=chain[0], causation_id=chain[1], traceparent=chain[2])
        if chain
        else None,
    )
