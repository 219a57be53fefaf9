"""Compacts runs in the background, a while after they were written to."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from headrace.runtime.db import DATABASE_TROUBLE
from headrace.runtime.telemetry import Log
from services.tracking.store import blocks
from services.tracking.store.folder import AWAY

PAUSE_SECONDS: Final = 1.0
_LEFT_SECONDS: Final = 600.0
_REST: Final = 2.0
"""Seconds of rest for each second of work: writes go first."""


class Compactor:
    """Runs until cancelled; `folded` says that there may be something to do."""

    def __init__(self, *, pool: asyncpg.Pool, folded: asyncio.Event, log: Log) -> None:
        self._pool = pool
        self._folded = folded
        self._log = log
        self._left: dict[str, float] = {}
        folded.set()

    async def run(self) -> None:
        """Look after each folding, at most once a second."""
        while True:
            await self._folded.wait()
            self._folded.clear()
            try:
                await self._turn()
            except DATABASE_TROUBLE as error:
                self._log.warning("not_compacted", reason=repr(error))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _turn(self) -> None:
        async with self._pool.acquire() as connection:
            run_ids = await blocks.runs_to_compact(connection)
        now = asyncio.get_running_loop().time()
        self._left = {run_id: until for run_id, until in self._left.items() if until > now}
        for run_id in run_ids:
            if run_id not in self._left:
                await self._compact_whole(run_id)

    async def _compact_whole(self, run_id: str) -> None:
        """Compact until there is nothing to do; a run that fails is left alone for a while."""
        try:
            while await self._compact(run_id):
                pass
        except AWAY:
            raise
        except Exception:
            self._log.exception("run_not_compacted", run_id=run_id)
            self._left[run_id] = asyncio.get_running_loop().time() + _LEFT_SECONDS

    async def _compact(self, run_id: str) -> int:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self._pool.acquire() as connection, connection.transaction():
            taken = await blocks.compact(connection, run_id=run_id)
        await asyncio.sleep(_REST * (loop.time() - began))
        return taken
