"""Empties what purged runs left in the blob store, and drops uploads that nobody finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

import asyncpg
from botocore.exceptions import BotoCoreError, ClientError

from headrace.errors import HeadraceError, NotFound
from headrace.runtime.blobs import Blobs
from headrace.runtime.clock import Clock
from headrace.runtime.db import DATABASE_TROUBLE, Connection
from headrace.runtime.telemetry import Log
from services.tracking.domain.errors import WrongStage
from services.tracking.domain.paths import ROOT
from services.tracking.store import purging
from services.tracking.store.purging import Garbage

_LOOK_SECONDS: Final = 5.0
_UPLOADS_SECONDS: Final = 3600.0
_STALE: Final = timedelta(days=1)
_MOST_RUNS: Final = 100
_TROUBLE: Final = (*DATABASE_TROUBLE, BotoCoreError, ClientError, HeadraceError)


class Sweeper:
    """Runs until cancelled; several processes may, since all that it does can be done twice.

    `purge_days`: runs that are deleted for longer are purged; None keeps them. `purged` is told
    of runs that are gone, whichever process purged them.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        blobs: Blobs,
        project: str,
        purge_days: int | None,
        clock: Clock,
        purged: Callable[[Collection[str]], None],
        log: Log,
    ) -> None:
        self._pool = pool
        self._blobs = blobs
        self._project = project
        self._purge_days = purge_days
        self._clock = clock
        self._purged = purged
        self._log = log
        self._left: set[str] = set()

    async def run(self) -> None:
        """Sweep for ever; a backend that is away only delays it."""
        await asyncio.gather(self._sweep_runs(), self._sweep_uploads())

    async def _sweep_runs(self) -> None:
        while True:
            try:
                await self._purge_old()
                await self._tell_purged()
                worked = await self._empty_next()
            except _TROUBLE as error:
                worked = False
                self._log.warning("not_swept", reason=repr(error))
            if not worked:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _tell_purged(self) -> None:
        async with self._pool.acquire() as connection:
            if gone := await purging.purged_lately(connection, project=self._project):
                self._purged(gone)

    async def _sweep_uploads(self) -> None:
        while True:
            try:
                before = self._clock.now() - _STALE
                if dropped := await self._blobs.uploads.drop(ROOT, begun_before=before):
                    self._log.info("uploads_dropped", uploads=dropped)
            except _TROUBLE as error:
                self._log.warning("uploads_not_swept", reason=repr(error))
            await asyncio.sleep(_UPLOADS_SECONDS)

    async def _purge_old(self) -> None:
        if self._purge_days is None:
            return
        async with self._pool.acquire() as connection:
            old = await purging.runs_to_purge(
                connection, project=self._project, days=self._purge_days, limit=_MOST_RUNS
            )
            for run_id in old:
                await self._purge(connection, run_id)

    async def _purge(self, connection: Connection, run_id: str) -> None:
        try:
            async with connection.transaction():
                await purging.purge_run(connection, project=self._project, run_id=run_id)
        except (NotFound, WrongStage):
            # Another process purged it, or somebody restored it in time.
            return
        self._log.info("run_purged", run_id=run_id, deleted_days=self._purge_days)

    async def _empty_next(self) -> bool:
        """Empty one prefix; one that fails is left alone until all others had their turn."""
        async with self._pool.acquire() as connection:
            garbage = await purging.next_garbage(
                connection, project=self._project, without=self._left
            )
            back = garbage is not None and await purging.is_back(connection, garbage)
        if garbage is None:
            self._left.clear()
            return False
        self._left.add(garbage.run_id)
        if garbage.prefix is not None and not back:
            removed = await self._blobs.delete_below(garbage.prefix)
            self._log.info("artifacts_removed", run_id=garbage.run_id, files=removed)
        await self._note(garbage, back=back)
        self._left.discard(garbage.run_id)
        return True

    async def _note(self, garbage: Garbage, *, back: bool) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            if garbage.late or back:
                await purging.forget(connection, garbage, back=back)
            else:
                await purging.note_emptied(connection, garbage)
