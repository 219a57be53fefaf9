"""An event loop in virtual time: nothing sleeps, the clock jumps to the next timer.

A callback belongs to the process in whose context it was scheduled. Those of a dead process
never run again, `finally` blocks included, as after kill -9; those of a frozen one are kept
back until it goes on, as after SIGSTOP.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, Final, Protocol, TypeVar, cast

T = TypeVar("T")


class Host(Protocol):
    """What the loop asks of the process that a callback belongs to."""

    alive: bool
    frozen: bool

    def keep_back(self, handle: asyncio.Handle) -> None:
        """Take a callback that is due while the process is frozen."""
        ...

    def step(self) -> bool:
        """Count one callback; False if the process died of it."""
        ...


HOST: Final[ContextVar[Host | None]] = ContextVar("host", default=None)
"""The process that the running code belongs to; None for the world outside."""


class Deadlock(AssertionError):
    """Everything waits and no timer is set: the message names the waiting tasks."""


class Endless(AssertionError):
    """The run needed more steps or more virtual seconds than it was allowed."""


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address in memory."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any],
        *,
        loop: asyncio.AbstractEventLoop,
        number: int,
        **options: Any,
    ) -> None:
        self._number = number
        self.host = _host_of(options.get("context"))
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order of their virtual times, and of their scheduling at one time."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, *, max_steps: int = 2_000_000, max_seconds: float = 3600.0) -> None:
        super().__init__()
        self._now = 0.0
        self._max_steps = max_steps
        self._max_seconds = max_seconds
        self._numbers = count()
        self._buried: list[asyncio.Task[Any]] = []
        self.steps = 0
        self.set_task_factory(self._make_task)
        self.set_exception_handler(_keep_silent)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_outside(self, delay: float, callback: Any, *arguments: Any) -> asyncio.TimerHandle:
        """Call later in the world outside all processes, whoever asks for it."""
        return self.call_later(delay, callback, *arguments, context=Context())

    def bury(self, host: Host) -> None:
        """Keep the tasks of a dead process from the collector, which would run `finally`s."""
        self._buried.extend(
            task for task in asyncio.all_tasks(self) if cast("_Task", task).host is host
        )

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the world to its end, then drop everything else."""
        try:
            return self.run_until_complete(self.create_task(main, context=Context()))
        finally:
            self._drop_tasks()
            self.close()

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        return _Task(coroutine, loop=loop, number=next(self._numbers), **options)

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            self._jump()
        while scheduled and scheduled[0].when() <= self._now:
            ready.append(heapq.heappop(scheduled))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled() and self._may_run(handle):
                self.steps += 1
                handle._run()
        if self.steps > self._max_steps:
            raise Endless(f"more than {self._max_steps} steps; at {self._now:.1f} s")

    def _may_run(self, handle: asyncio.Handle) -> bool:
        host = handle._context.get(HOST)  # type: ignore[attr-defined]
        if host is None:
            return True
        if host.frozen and host.alive:
            host.keep_back(handle)
            return False
        return bool(host.alive and host.step())

    def _jump(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)
        if not scheduled:
            raise Deadlock(f"at {self._now:.3f} s nothing is left to happen; {self._waiting()}")
        self._now = max(self._now, scheduled[0].when())
        if self._now > self._max_seconds:
            raise Endless(f"more than {self._max_seconds} virtual seconds; {self._waiting()}")

    def _waiting(self) -> str:
        names = sorted(task.get_name() for task in asyncio.all_tasks(self))
        return f"waiting: {', '.join(names)}"

    def _drop_tasks(self) -> None:
        """Close what still waits, so that the collector finds nothing to finish."""
        for task in sorted(asyncio.all_tasks(self), key=hash):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _close(task.get_coro())

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        """What a dead process left open stays open."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


def _host_of(context: Context | None) -> Host | None:
    return HOST.get() if context is None else context.get(HOST)


def _keep_silent(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tasks that end in errors are judged by what they did to the world."""


def _close(coroutine: object) -> None:
    """Close a coroutine; it may await in its `finally` blocks, which is an error each time."""
    for _ in range(20):
        with contextlib.suppress(BaseException):
            coroutine.close()  # type: ignore[attr-defined]
            return
