"""Folding: the log of runs becomes summaries, chunks and events, each write exactly once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Final

import asyncpg
import numpy as np

from headrace.runtime.bus import Caller, Tx
from headrace.runtime.db import Connection
from services.tracking.domain.batches import Written
from services.tracking.domain.chunks import encode
from services.tracking.domain.entities import RunInfo
from services.tracking.domain.facts import run_logged
from services.tracking.domain.points import (
    INT64_MAX,
    Columns,
    Point,
    columns_of_all,
    united,
    without,
)
from services.tracking.domain.summaries import Summaries, joined, no_summaries, summaries_of
from services.tracking.store import metrics
from services.tracking.store.contents import info_of
from services.tracking.store.live import News
from services.tracking.store.log import columns_of_row

MAX_ROWS: Final = 2000
MAX_POINTS: Final = 65_536
_ChainRow = tuple[str, str | None, str | None] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Logged:
    """A row of the log."""

    chunk_id: int | None
    points: Columns | Point | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    chain: _ChainRow


async def runs_to_fold(
    connection: Connection, *, project: str, without: Collection[str], limit: int
) -> dict[str, bool]:
    """Runs with the oldest entries of the log, and of each whether it is there to be folded.

    It is not if it was purged while somebody wrote to it, or belongs to another project.
    """
    rows = await connection.fetch(
        """
        with old as (
            select distinct run_id from (
                select run_id from run_log where run_id <> all($2) order by log_id limit $3
            ) as oldest
        )
        select old.run_id, run.run_id is not null as is_there
        from old left join run on run.run_id = old.run_id and run.project = $1
        """,
        project,
        list(without),
        limit,
    )
    return {row["run_id"]: row["is_there"] for row in rows}


async def unfolded(
    connection: Connection, *, project: str, experiments: Sequence[int]
) -> list[str]:
    """Runs of some experiments that have entries in the log."""
    rows = await connection.fetch(
        "select run_id from (select distinct run_id from run_log) as logged join run using (run_id)"
        " where project = $1 and experiment_id = any($2)",
        project,
        list(experiments),
    )
    return [row["run_id"] for row in rows]


async def fold_all(
    tx: Tx,
    run_ids: Sequence[str],
    *,
    project: str,
    recent: MutableMapping[int, Columns | Point] | None = None,
    news: list[News] | None = None,
) -> None:
    """Fold everything that was logged to some runs; what is written meanwhile may stay.

    `recent` and `news` are as in `fold`.
    """
    last: int | None = await tx.connection.fetchval(
        "select max(log_id) from run_log where run_id = any($1)", list(run_ids)
    )
    if last is None:
        return
    while await fold(tx, run_ids, project=project, last=last, recent=recent, news=news):
        pass


async def fold(
    tx: Tx,
    run_ids: Sequence[str],
    *,
    project: str,
    last: int = INT64_MAX,
    recent: MutableMapping[int, Columns | Point] | None = None,
    news: list[News] | None = None,
) -> int:
    """Fold what the log has of these runs, up to its entry `last`; returns the number of entries.

    The runs are locked until the transaction ends: nobody else folds them, and their events come
    in the order of their commits. `recent` are points by their place in the log which this process
    wrote itself; what is used is taken out of it. `news` is given what watchers were not told yet.
    """
    rows = await tx.connection.fetch(
        "select * from run where project = $1 and run_id = any($2)"
        " order by run_id for no key update",
        project,
        list(run_ids),
    )
    homes = {row["run_id"]: info_of(row) for row in rows}
    rows = _first(await _rows(tx, list(homes), last=last))
    logged = await _read_entries(
        tx, rows, {} if recent is None else recent, [] if news is None else news
    )
    log_ids = [row["log_id"] for row in rows]
    if not log_ids:
        return 0
    await _Folding(tx=tx, project=project, homes=homes, logged=logged).apply()
    await tx.connection.execute("delete from run_log where log_id = any($1)", log_ids)
    return len(log_ids)


class _Folding:
    """One transaction's work over some runs."""

    def __init__(
        self,
        *,
        tx: Tx,
        project: str,
        homes: Mapping[str, RunInfo],
        logged: Mapping[str, Sequence[_Logged]],
    ) -> None:
        self._tx = tx
        self._project = project
        self._homes = homes
        self._logged = logged
        self._states: dict[str, Summaries] = {}
        self._touched: dict[str, Summaries] = {}
        self._merged: list[tuple[str, Columns]] = []
        self._doomed: list[int] = []
        self._taken: dict[str, list[Columns]] = {}

    async def apply(self) -> None:
        """Summaries, chunks and events of what was logged."""
        connection = self._tx.connection
        self._states = await metrics.summaries_of(connection, self._keys())
        for run_id, entries in self._logged.items():
            for _, group in groupby(entries, key=lambda entry: entry.chain and entry.chain[0]):
                await self._fold_group(run_id, list(group))
        if self._touched:
            await metrics.put_summaries(connection, self._touched)
        if self._merged:
            chunks = [(run_id, encode(columns)) for run_id, columns in self._merged]
            await metrics.insert_chunks(connection, chunks)
        if self._doomed:
            await metrics.delete_chunks(connection, self._doomed)

    def _keys(self) -> dict[str, list[str]]:
        return {
            run_id: sorted(
                {
                    key
                    for entry in entries
                    if entry.points is not None
                    for key in _keys(entry.points)
                }
            )
            for run_id, entries in self._logged.items()
        }

    async def _fold_group(self, run_id: str, entries: Sequence[_Logged]) -> None:
        fresh = await self._fresh_points(run_id, entries)
        touched = summaries_of(fresh).onto(self._states.get(run_id, no_summaries()))
        if len(touched):
            self._states[run_id] = _replaced(self._states.get(run_id), touched)
            self._touched[run_id] = _replaced(self._touched.get(run_id), touched)
        written = Written(
            params={key: value for entry in entries for key, value in entry.params.items()},
            tags={key: value for entry in entries for key, value in entry.tags.items()},
            metrics=touched,
        )
        if written:
            for event in run_logged(self._project, self._homes[run_id], written):
                self._tx.emit(event, caller=_caller(entries[0].chain))

    async def _fresh_points(self, run_id: str, entries: Sequence[_Logged]) -> Columns:
        """Points of these entries that were not stored before; few ones are kept for a chunk."""
        columns = columns_of_all([entry.points for entry in entries if entry.points is not None])
        if not len(columns):
            return columns
        fresh = columns
        if self._may_repeat(run_id, columns):
            fresh = without(columns, await self._stored(run_id, columns))
        large = [entry.chunk_id for entry in entries if entry.chunk_id is not None]
        small = [
            entry.points for entry in entries if entry.points is not None and entry.chunk_id is None
        ]
        if large and len(fresh) < len(columns):
            self._doomed.extend(large)
            self._keep(run_id, fresh)
        elif large:
            self._keep(run_id, columns_of_all(small))
        else:
            self._keep(run_id, fresh)
        self._taken.setdefault(run_id, []).append(fresh)
        return fresh

    def _keep(self, run_id: str, columns: Columns) -> None:
        if len(columns):
            self._merged.append((run_id, columns))

    async def _stored(self, run_id: str, columns: Columns) -> Columns:
        """Points near these that were folded before, by this transaction or an earlier one.

        What other entries of the log hold is not looked at: of two that bring the same points one
        would be taken for a repetition of the other, and the other of it.
        """
        found = await metrics.overlapping(self._tx.connection, run_id=run_id, columns=columns)
        return united([*found, *self._taken.get(run_id, [])])

    def _may_repeat(self, run_id: str, columns: Columns) -> bool:
        """Whether a point is not after all that is stored: only such a one can be a repetition."""
        before = self._states.get(run_id, no_summaries())
        given = summaries_of(columns)
        places = before.places_of(given.keys)
        known = np.flatnonzero(places >= 0)
        first, last = given.first.at(known), before.last.at(places[known])
        after = (first.step > last.step) | (
            (first.step == last.step) & (first.timestamp > last.timestamp)
        )
        return not bool(after.all())


async def _rows(tx: Tx, run_ids: Sequence[str], *, last: int) -> list[asyncpg.Record]:
    """Rows of locked runs, the oldest first, without their points."""
    return await tx.connection.fetch(
        "select log_id, run_id, chunk_id, points, told from run_log"
        " where run_id = any($1) and log_id <= $2 order by log_id limit $3",
        list(run_ids),
        last,
        MAX_ROWS,
    )


async def _read_entries(
    tx: Tx,
    rows: Sequence[asyncpg.Record],
    recent: MutableMapping[int, Columns | Point],
    news: list[News],
) -> dict[str, list[_Logged]]:
    """What the rows hold, by run."""
    known = {row["log_id"]: recent.pop(row["log_id"], None) for row in rows if row["points"]}
    unknown = [log_id for log_id, points in known.items() if points is None]
    read = await _read(tx, unknown) if unknown else {}
    known |= read
    logged: dict[str, list[_Logged]] = {}
    for row in rows:
        entry = _logged(row, known.get(row["log_id"]))
        logged.setdefault(row["run_id"], []).append(entry)
        untold = read.get(row["log_id"])
        if untold is not None or entry.params or entry.tags:
            news.append(
                News(run_id=row["run_id"], columns=untold, params=entry.params, tags=entry.tags)
            )
    return logged


def _first(rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """As many of the rows as one transaction takes: sorting more points would stall the loop."""
    points = accumulate(row["points"] or 0 for row in rows)
    return [
        row
        for place, (row, sum_) in enumerate(zip(rows, points, strict=True))
        if sum_ <= MAX_POINTS or not place
    ]


async def _read(tx: Tx, log_ids: Sequence[int]) -> dict[int, Columns]:
    rows = await tx.connection.fetch(
        """
        select log_id, coalesce(run_log.keys, array_to_string(chunk.keys, chr(10))) as keys,
            coalesce(run_log.codec, chunk.codec) as codec,
            coalesce(run_log.body, chunk.body) as body
        from run_log left join metric_chunk as chunk using (chunk_id)
        where log_id = any($1)
        """,
        list(log_ids),
    )
    return {row["log_id"]: columns_of_row(row) for row in rows}


def _logged(row: asyncpg.Record, points: Columns | Point | None) -> _Logged:
    told = row["told"] or {}
    chain = told.get("chain")
    return _Logged(
        chunk_id=row["chunk_id"],
        points=points,
        params=told.get("params", {}),
        tags=told.get("tags", {}),
        chain=(chain[0], chain[1], chain[2]) if chain else None,
    )


def _keys(points: Columns | Point) -> tuple[str, ...]:
    return points.keys if isinstance(points, Columns) else (points[0],)


def _caller(chain: _ChainRow) -> Caller:
    """Whose event it is: of the write's chain, or the beginning of one."""
    if chain is None:
        return Caller.none()
    correlation_id, causation_id, traceparent = chain
    return Caller(correlation_id=correlation_id, causation_id=causation_id, traceparent=traceparent)


def _replaced(before: Summaries | None, changed: Summaries) -> Summaries:
    """The states with those that changed in the place of what they were."""
    if before is None:
        return changed
    kept = np.flatnonzero(changed.places_of(before.keys) < 0)
    return joined(before.at(kept), changed) if len(kept) else changed
