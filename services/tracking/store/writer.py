"""The write path of the REST API: group commit into the log of runs, and of new runs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import asyncpg

from headrace.errors import Transient
from headrace.runtime.db import Connection
from services.tracking.domain.entities import RunInfo
from services.tracking.domain.entries import Entry, NewRun
from services.tracking.domain.errors import RunHeld
from services.tracking.domain.points import Columns, Point, columns_of_all
from services.tracking.store.acknowledged import Acknowledged
from services.tracking.store.group import GroupCommit
from services.tracking.store.live import Hub, News
from services.tracking.store.log import Appended, Outcome, append, needs_transaction
from services.tracking.store.starting import start_runs

_MAX_RECENT_POINTS: Final = 1_000_000
_ENTRY: Final = 100
"""What an entry weighs beside its points."""
_MOST_IN_GROUP: Final = 65_536
_MOST_WAITING: Final = 2_000_000
_MOST_UNFOLDED: Final = 100_000
_PAUSES: Final = (0.005, 0.01, 0.02, 0.04, 0.08)
"""Before a write to a run that somebody holds is tried again, in seconds; folding takes less."""
_PATIENT: Final = 2
"""Writes that then wait for their run's lock, each on a connection of its own."""
_BLAMED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)
"""What one entry of a group may have caused."""


class Recent:
    """Points of this process's latest entries, by their place in the log, bounded."""

    def __init__(self) -> None:
        self.points: dict[int, Columns | Point] = {}
        self._count = 0

    def add(self, points: Mapping[int, Columns | Point]) -> None:
        """Remember them; if that is too much forget all older ones, which can be read again."""
        if not self.points:
            self._count = 0
        self._count += sum(len(one) if isinstance(one, Columns) else 1 for one in points.values())
        if self._count > _MAX_RECENT_POINTS:
            self.points.clear()
            self._count = 0
        self.points.update(points)


class Writer:
    """Takes writes one by one; each returns when it is durable, or raises why it is refused."""

    def __init__(self, *, pool: asyncpg.Pool, project: str) -> None:
        self._pool = pool
        self._project = project
        self._entries: GroupCommit[Entry, None] = GroupCommit(
            self._append,
            most_in_group=_MOST_IN_GROUP,
            most_waiting=_MOST_WAITING,
            faults=_BLAMED,
        )
        self._runs: GroupCommit[NewRun, RunInfo] = GroupCommit(
            self._start, most_in_group=256, most_waiting=4096, faults=_BLAMED
        )
        self._patience = asyncio.Semaphore(_PATIENT)
        self.recent = Recent()
        self.acknowledged = Acknowledged()
        self.hub = Hub()
        self.appended = asyncio.Event()
        self._unfolded = 0

    async def write(self, entry: Entry) -> None:
        """Add to a run. Raises NotFound, InvalidInput, WrongStage, Transient.

        Folding may fall behind for a while, but not without bound.
        """
        if self._unfolded > _MOST_UNFOLDED:
            raise Transient(f"more than {_MOST_UNFOLDED} writes wait to be folded")
        points = entry.chunk.points if entry.chunk is not None else 0
        for pause in _PAUSES:
            try:
                await self._entries.submit(entry, size=_ENTRY + points)
            except RunHeld:
                await asyncio.sleep(pause)
            else:
                return
        async with self._patience:
            (outcome,) = await self._append([entry], wait=True)
        if outcome is not None:
            raise outcome

    def note_folded(self, count: int) -> None:
        """So many entries of the log are folded, whoever wrote them."""
        self._unfolded = max(0, self._unfolded - count)

    async def start_run(self, new: NewRun) -> RunInfo:
        """Make a run in status RUNNING. Raises NotFound, InvalidInput, Conflict, Transient."""
        return await self._runs.submit(new)

    async def _append(self, entries: Sequence[Entry], *, wait: bool = False) -> Sequence[Outcome]:
        """Add entries; those of runs that somebody holds must not keep all others waiting."""
        async with self._pool.acquire() as connection:
            appended = await self._append_by(connection, entries, wait=wait)
        self.recent.add(appended.points)
        self._unfolded += len(appended.points)
        self.appended.set()
        if self.hub.has_watchers:
            self._tell(entries, set(map(id, appended.points.values())))
        return appended.outcomes

    async def _append_by(
        self, connection: Connection, entries: Sequence[Entry], *, wait: bool
    ) -> Appended:
        if not needs_transaction(entries):
            return await append(connection, entries, project=self._project, wait=wait)
        async with connection.transaction():
            return await append(connection, entries, project=self._project, wait=wait)

    def _tell(self, entries: Sequence[Entry], fresh: Collection[int]) -> None:
        for entry in entries:
            if entry.points is not None and id(entry.points) in fresh:
                news = News(run_id=entry.run_id, columns=columns_of_all([entry.points]))
                self.hub.tell(news)

    async def _start(self, runs: Sequence[NewRun]) -> Sequence[RunInfo | Exception]:
        async with self._pool.acquire() as connection:
            outcomes = await start_runs(connection, runs, project=self._project)
        self.appended.set()
        return outcomes
