"""The worker processes: one for each slot, started again when they die, and zombies beside them."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Final

from tests.faults.servers import Servers
from tests.faults.slots import EXTRA, PRODUCERS, STANDING, Slot
from tests.faults.worker import Job, main

_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05


@dataclass(slots=True)
class Fleet:
    """`tend` starts again what died; only one process fills a slot, zombies do not count.

    `crashed` counts the processes that reached the point at which they were to crash.
    """

    servers: Servers
    directory: Path
    program: Callable[[Job], None] = main
    _context: ForkServerContext = field(
        default_factory=lambda: multiprocessing.get_context("forkserver")
    )
    _filled: dict[Slot, ForkServerProcess] = field(default_factory=dict)
    _zombies: list[ForkServerProcess] = field(default_factory=list)
    _held_back: dict[Slot, float] = field(default_factory=dict)
    _crashes: dict[Slot, tuple[str, asyncio.Event]] = field(default_factory=dict)
    _armed: dict[Slot, asyncio.Event] = field(default_factory=dict)
    _frozen: set[int] = field(default_factory=set)
    crashed: int = 0

    def __post_init__(self) -> None:
        """Workers are forked from a process that has imported everything: a start costs 20 ms."""
        self._context.set_forkserver_preload([self.program.__module__])

    @property
    def orders(self) -> Path:
        """Where the producers look for what they are to do."""
        return self.directory / "orders.json"

    @property
    def journals(self) -> Path:
        """Where they write what they did, one directory a round."""
        return self.directory / "journals"

    @property
    def logs(self) -> Path:
        """What the workers have to say."""
        return self.directory / "logs"

    def start(self, slots: Sequence[Slot] = STANDING) -> None:
        """Fill these slots."""
        for slot in slots:
            self._fill(slot)

    def pid(self, slot: Slot) -> int:
        """Who fills it now. Raises ValueError when nobody does."""
        return self._pid(self._filled[slot])

    async def tend(self) -> None:
        """Until cancelled, fill a slot again whose process died."""
        while True:
            now = asyncio.get_running_loop().time()
            for slot, process in list(self._filled.items()):
                if not process.is_alive() and now >= self._held_back.get(slot, 0.0):
                    self._held_back.pop(slot, None)
                    self._note_death(slot)
                    self._fill(slot)
            await asyncio.sleep(_LOOK_SECONDS)

    def kill(self, slot: Slot, *, away: float) -> None:
        """SIGKILL; the successor starts after `away` seconds."""
        self._held_back[slot] = asyncio.get_running_loop().time() + away
        self._filled[slot].kill()

    async def crash(self, slot: Slot, point: str, *, seconds: float) -> None:
        """SIGKILL, and let the successor crash; wait so long for it to get there."""
        crashed = asyncio.Event()
        self._crashes[slot] = (point, crashed)
        self.kill(slot, away=0.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(crashed.wait(), seconds)

    def freeze(self, slot: Slot) -> int:
        """SIGSTOP; returns the pid, for `thaw`."""
        pid = self.pid(slot)
        self._signal(pid, signal.SIGSTOP)
        self._frozen.add(pid)
        return pid

    def thaw(self, pid: int) -> None:
        """Let it go on, whoever fills its slot now."""
        self._signal(pid, signal.SIGCONT)
        self._frozen.discard(pid)

    def succeed(self, slot: Slot) -> None:
        """A second process under the same name; the first becomes a zombie."""
        self._zombies.append(self._filled[slot])
        self._fill(slot)

    def join(self) -> None:
        """The extra member starts."""
        self._fill(EXTRA)

    async def leave(self) -> None:
        """The extra member stops in order; as a static member it stays in the group."""
        process = self._filled.pop(EXTRA, None)
        if process is None:
            return
        process.terminate()
        await self._ended(process)

    async def heal(self) -> None:
        """Everybody runs, zombies are ended, and who still waits for its crash is replaced."""
        for pid in list(self._frozen):
            self.thaw(pid)
        for zombie in self._zombies:
            zombie.kill()
            await self._ended(zombie)
        self._zombies.clear()
        self._crashes.clear()
        for slot in self._armed:
            self._filled[slot].kill()
        self._armed.clear()
        self._held_back.clear()
        await self.leave()

    def producers(self) -> list[str]:
        """Names of the processes that produce now, as in the names of their journals."""
        return [f"{slot}-{self._filled[slot].pid}" for slot in PRODUCERS]

    async def stop(self) -> None:
        """End all of them."""
        await self.heal()
        for process in self._filled.values():
            process.kill()
        for process in self._filled.values():
            await self._ended(process)

    def _fill(self, slot: Slot) -> None:
        through = self.servers.through(slot)
        crash_at, crashed = self._crashes.pop(slot, ("", None))
        job = Job(
            slot=slot,
            kafka=through.kafka,
            database_url=through.database_url(slot.service),
            log=self.logs / f"{slot}.log",
            orders=self.orders,
            journals=self.journals,
            crash_at=crash_at,
        )
        process = self._context.Process(
            target=self.program, args=(job,), name=str(slot), daemon=True
        )
        process.start()
        self._filled[slot] = process
        if crashed is not None:
            self._armed[slot] = crashed

    def _note_death(self, slot: Slot) -> None:
        crashed = self._armed.pop(slot, None)
        if crashed is not None:
            self.crashed += 1
            crashed.set()

    def _signal(self, pid: int, number: signal.Signals) -> None:
        """Only living children are signalled, so the pid is still theirs."""
        for process in (*self._filled.values(), *self._zombies):
            if process.pid == pid and process.is_alive():
                os.kill(pid, number)

    @staticmethod
    def _pid(process: ForkServerProcess) -> int:
        if process.pid is None:
            raise ValueError(f"{process.name} was not started")
        return process.pid

    @staticmethod
    async def _ended(process: ForkServerProcess) -> None:
        await asyncio.to_thread(process.join, _SECONDS)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join, _SECONDS)
