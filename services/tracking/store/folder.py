"""Folds the log of runs in the background, soon after it was written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from headrace.runtime.bus import Bus, Caller
from headrace.runtime.db import DATABASE_TROUBLE, TRANSACTION_LOST
from headrace.runtime.telemetry import Log
from services.tracking.store import folding, unfolded
from services.tracking.store.live import News
from services.tracking.store.writer import Writer

PAUSE_SECONDS: Final = 0.2
"""What is logged within it is told by one event a run, and changes each summary once."""
_LOOK_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 1.0
_LEFT_SECONDS: Final = 10.0
AWAY: Final = (OSError, *TRANSACTION_LOST)
"""No run's fault."""


class Folder:
    """Runs until cancelled; several processes may, each run is folded by one at a time."""

    def __init__(
        self,
        *,
        bus: Bus,
        project: str,
        writer: Writer,
        log: Log,
    ) -> None:
        self.folded = asyncio.Event()
        self._bus = bus
        self._project = project
        self._writer = writer
        self._log = log
        self._left: dict[str, float] = {}

    async def run(self) -> None:
        """Fold whenever something was appended, and what other processes left now and then."""
        while True:
            try:
                if not await self._turn():
                    await self._wait()
            except DATABASE_TROUBLE as error:
                self._log.warning("not_folded", reason=repr(error))
                await asyncio.sleep(_WAIT_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)

    async def catch_up(self, run_ids: Sequence[str]) -> None:
        """Fold what these runs have in the log; one that cannot be folded stays as it is.

        Raises what a database that is away raises.
        """
        async with self._bus.transaction(Caller.none()) as tx:
            last = await folding.last_entry(tx.connection)
        while wanted := [run_id for run_id in run_ids if run_id not in self._left]:
            if not await self._fold(wanted, last):
                return

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._writer.appended.wait()
        except TimeoutError:
            pass

    async def _turn(self) -> int:
        """Fold what the log has now, and no more, so that others gather; returns how many."""
        self._writer.appended.clear()
        async with self._bus.transaction(Caller.none()) as tx:
            last = await folding.last_entry(tx.connection)
        count = 0
        while run_ids := await self._next_runs(last):
            folded = await self._fold(run_ids, last)
            if not folded:
                break
            count += folded
        return count

    async def _next_runs(self, last: int) -> list[str]:
        """Runs with the oldest entries, but for those that are left alone for a while."""
        now = asyncio.get_running_loop().time()
        self._left = {run_id: until for run_id, until in self._left.items() if until > now}
        while True:
            async with self._bus.transaction(Caller.none()) as tx:
                found = await folding.runs_to_fold(
                    tx.connection,
                    project=self._project,
                    without=self._left,
                    last=last,
                    limit=unfolded.MAX_ROWS,
                )
            self._leave([run_id for run_id, is_there in found.items() if not is_there])
            run_ids = [run_id for run_id, is_there in found.items() if is_there]
            if run_ids or not found:
                return run_ids

    def _leave(self, run_ids: Sequence[str]) -> None:
        """Leave runs alone for a while: however much they have in the log, others come next."""
        until = asyncio.get_running_loop().time() + _LEFT_SECONDS
        self._left |= dict.fromkeys(run_ids, until)

    async def _fold(self, run_ids: Sequence[str], last: int) -> int:
        """All runs in one transaction; if that fails each in its own, so that none waits."""
        try:
            return await self._fold_together(run_ids, last)
        except AWAY:
            raise
        except Exception:
            if len(run_ids) == 1:
                self._log.exception("run_not_folded", run_id=run_ids[0])
                self._leave(run_ids)
                return 0
        return sum([await self._fold([run_id], last) for run_id in run_ids])

    async def _fold_together(self, run_ids: Sequence[str], last: int) -> int:
        news: list[News] = []
        async with self._bus.transaction(Caller.none()) as tx:
            count = await folding.fold(
                tx,
                run_ids,
                project=self._project,
                last=last,
                recent=self._writer.recent.points,
                news=news,
            )
        self._writer.note_folded(count)
        self.folded.set()
        for one in news:
            self._writer.hub.tell(one)
        return count
