"""The write path of the REST API: group commit into the log of runs, and of new runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.entities import RunInfo
from services.tracking.domain.entries import Entry, NewRun
from services.tracking.domain.points import Columns
from services.tracking.store.group import GroupCommit
from services.tracking.store.live import Hub, News
from services.tracking.store.log import Outcome, append, needs_transaction
from services.tracking.store.starting import start_runs

_MAX_RECENT_POINTS: Final = 1_000_000


class Recent:
    """Points of this process's latest entries, by their place in the log, bounded."""

    def __init__(self) -> None:
        self.columns: dict[int, Columns] = {}
        self._points = 0

    def add(self, columns: dict[int, Columns]) -> None:
        """Remember them; if that is too much forget all older ones, which can be read again."""
        if not self.columns:
            self._points = 0
        self._points += sum(map(len, columns.values()))
        if self._points > _MAX_RECENT_POINTS:
            self.columns.clear()
            self._points = 0
        self.columns.update(columns)


class Writer:
    """Takes writes one by one; each returns when it is durable, or raises why it is refused."""

    def __init__(self, *, pool: asyncpg.Pool, project: str) -> None:
        self._pool = pool
        self._project = project
        self._entries: GroupCommit[Entry, None] = GroupCommit(self._append, weight=_weight)
        self._runs: GroupCommit[NewRun, RunInfo] = GroupCommit(self._start)
        self.recent = Recent()
        self.hub = Hub()
        self.appended = asyncio.Event()

    async def write(self, entry: Entry) -> None:
        """Add to a run. Raises NotFound, InvalidInput, WrongStage, Transient."""
        await self._entries.submit(entry)

    async def start_run(self, new: NewRun) -> RunInfo:
        """Make a run in status RUNNING. Raises NotFound, InvalidInput, Conflict, Transient."""
        return await self._runs.submit(new)

    async def _append(self, entries: Sequence[Entry]) -> Sequence[Outcome]:
        async with AsyncExitStack() as stack:
            connection: Connection = await stack.enter_async_context(self._pool.acquire())
            if needs_transaction(entries):
                await stack.enter_async_context(connection.transaction())
            appended = await append(connection, entries, project=self._project)
        self.recent.add(dict(appended.columns))
        self.appended.set()
        fresh = set(map(id, appended.columns.values()))
        for entry in entries:
            if id(entry.columns) in fresh:
                self.hub.tell(News(run_id=entry.run_id, columns=entry.columns))
        return appended.outcomes

    async def _start(self, runs: Sequence[NewRun]) -> Sequence[RunInfo | Exception]:
        async with self._pool.acquire() as connection:
            outcomes = await start_runs(connection, runs, project=self._project)
        self.appended.set()
        return outcomes


def _weight(entry: Entry) -> int:
    return 1 + (len(entry.columns) if entry.columns is not None else 0)
