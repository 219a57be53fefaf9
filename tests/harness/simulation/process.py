"""Simulated processes: killed, frozen and thawed at any await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar, cast

from tests.harness.simulation.loop import HOST, VirtualLoop

T = TypeVar("T")


class Killed(BaseException):
    """Ends the code that was running when its own process died."""


class Process:
    """Tasks that live and die together; restarted as another Process of the same name."""

    def __init__(self, name: str, *, on_death: Callable[[Process], None]) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self._fuse: int | None = None
        self._fatal_point: tuple[str, int] | None = None
        self._mourners: list[asyncio.Future[None]] = []
        self._on_death = on_death
        self._kept_back: list[asyncio.Handle] = []

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task in this process; its children belong to the process too."""
        context = copy_context()
        context.run(HOST.set, self)
        loop = asyncio.get_running_loop()
        return loop.create_task(coroutine, name=f"{self.name}:{name}", context=context)

    def light_fuse(self, steps: int) -> None:
        """Die before the step of that number from now, wherever that is."""
        self._fuse = steps

    def die_at(self, point: str, passage: int) -> None:
        """Die at a named point of the bus, at its passage of that number."""
        self._fatal_point = (point, passage)

    def dies_at(self, point: str) -> bool:
        """Note that a named point is passed; whether this is where it ends."""
        if self._fatal_point is None or self._fatal_point[0] != point:
            return False
        passage = self._fatal_point[1] - 1
        self._fatal_point = (point, passage)
        return passage <= 0

    def disarm(self) -> None:
        """Live on, unless it is killed."""
        self._fuse = None
        self._fatal_point = None

    async def death(self) -> None:
        """Return when the process dies."""
        if self.alive:
            mourner: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._mourners.append(mourner)
            await mourner

    def step(self) -> bool:
        if self._fuse is None:
            return True
        self._fuse -= 1
        if self._fuse > 0:
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """Stop everything at once; what it left open is found by others."""
        if not self.alive:
            return
        self.alive = False
        cast("VirtualLoop", asyncio.get_running_loop()).bury(self)
        self._kept_back.clear()
        self._on_death(self)
        for mourner in self._mourners:
            if not mourner.done():
                mourner.set_result(None)

    def freeze(self) -> None:
        """Stand still, as after SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on with what is due; the process does not know that time passed."""
        self.frozen = False
        loop = cast("VirtualLoop", asyncio.get_running_loop())
        loop._ready.extend(self._kept_back)
        self._kept_back.clear()

    def keep_back(self, handle: asyncio.Handle) -> None:
        self._kept_back.append(handle)


def here() -> Process | None:
    """The process whose code is running; None outside of all."""
    return cast("Process | None", HOST.get())
