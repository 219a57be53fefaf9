"""Folding: the log of runs becomes summaries, chunks and events, each write exactly once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from itertools import groupby

import numpy as np

from headrace.runtime.bus import Tx
from headrace.runtime.db import Connection
from services.tracking.domain.batches import Written
from services.tracking.domain.chunks import encode
from services.tracking.domain.entities import RunInfo
from services.tracking.domain.facts import run_logged
from services.tracking.domain.points import Columns, Point, columns_of_all, united, without
from services.tracking.domain.summaries import Summaries, joined, no_summaries, summaries_of
from services.tracking.domain.values import INT64_MAX
from services.tracking.store import metrics
from services.tracking.store.chains import caller_of
from services.tracking.store.contents import info_of
from services.tracking.store.live import News
from services.tracking.store.unfolded import Logged, read_entries, rows_of


async def runs_to_fold(
    connection: Connection, *, project: str, without: Collection[str], last: int, limit: int
) -> dict[str, bool]:
    """Runs with the oldest entries of the log up to `last`, and whether each is there to be folded.

    It is not if it was purged while somebody wrote to it, or belongs to another project.
    """
    rows = await connection.fetch(
        """
        with old as (
            select distinct run_id from (
                select run_id from run_log where run_id <> all($2) and log_id <= $4
                order by log_id limit $3
            ) as oldest
        )
        select old.run_id, run.run_id is not null as is_there
        from old left join run on run.run_id = old.run_id and run.project = $1
        """,
        project,
        list(without),
        limit,
        last,
    )
    return {row["run_id"]: row["is_there"] for row in rows}


async def last_entry(connection: Connection) -> int:
    """Where the newest entry of the log stands; 0 if there is none."""
    last: int | None = await connection.fetchval("select max(log_id) from run_log")
    return last or 0


async def unfolded(
    connection: Connection, *, project: str, experiments: Sequence[int]
) -> list[str]:
    """Runs of some experiments that have entries in the log."""
    logged = await connection.fetch("select distinct run_id from run_log")
    if not logged:
        return []
    rows = await connection.fetch(
        "select run_id from run where run_id = any($1) and project = $2"
        " and experiment_id = any($3)",
        [row["run_id"] for row in logged],
        project,
        list(experiments),
    )
    return [row["run_id"] for row in rows]


async def fold_all(tx: Tx, run_ids: Sequence[str], *, project: str) -> None:
    """Fold everything that was logged to some runs; what is written meanwhile may stay."""
    last: int | None = await tx.connection.fetchval(
        "select max(log_id) from run_log where run_id = any($1)", list(run_ids)
    )
    if last is None:
        return
    while await fold(tx, run_ids, project=project, last=last):
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
    rows = await rows_of(tx, list(homes), last=last)
    logged = await read_entries(
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
        logged: Mapping[str, Sequence[Logged]],
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
            for _, group in groupby(
                entries, key=lambda entry: entry.chain and entry.chain.correlation_id
            ):
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

    async def _fold_group(self, run_id: str, entries: Sequence[Logged]) -> None:
        fresh = await self._fresh_points(run_id, entries)
        touched = fresh.onto(self._states.get(run_id, no_summaries()))
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
                self._tx.emit(event, caller=caller_of(entries[0].chain))

    async def _fresh_points(self, run_id: str, entries: Sequence[Logged]) -> Summaries:
        """Of the points that were not stored before; few ones are kept for a chunk."""
        columns = columns_of_all([entry.points for entry in entries if entry.points is not None])
        given = summaries_of(columns)
        if not len(columns):
            return given
        fresh = columns
        if self._may_repeat(run_id, given):
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
        return given if fresh is columns else summaries_of(fresh)

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

    def _may_repeat(self, run_id: str, given: Summaries) -> bool:
        """Whether a point is not after all that is stored: only such a one can be a repetition."""
        before = self._states.get(run_id, no_summaries())
        places = before.places_of(given.keys)
        known = np.flatnonzero(places >= 0)
        first, last = given.first.at(known), before.last.at(places[known])
        after = (first.step > last.step) | (
            (first.step == last.step) & (first.timestamp > last.timestamp)
        )
        return not bool(after.all())


def _keys(points: Columns | Point) -> tuple[str, ...]:
    return points.keys if isinstance(points, Columns) else (points[0],)


def _replaced(before: Summaries | None, changed: Summaries) -> Summaries:
    """The states with those that changed in the place of what they were."""
    if before is None:
        return changed
    kept = np.flatnonzero(changed.places_of(before.keys) < 0)
    return joined(before.at(kept), changed) if len(kept) else changed
