"""The memory that models share."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from services.serving.worker.residency.seat import Seat, State
from services.serving.worker.runtimes.runtime import Runtime

_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Since the worker began; `seconds` is the time that all loads took together."""

    loads: int = 0
    failures: int = 0
    evictions: int = 0
    seconds: float = 0.0


class Residency:
    """Keeps the models in memory within `budget` bytes; 0 keeps all of them.

    The budget is passed only by models that must be here, or that run at this very moment.
    """

    def __init__(self, budget: int = 0) -> None:
        self.budget = budget
        self.counts = Counts()
        self._seats: weakref.WeakSet[Seat] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._waiting = 0

    def seat(self, open_runtime: Callable[[], Runtime], *, size: int) -> Seat:
        """An empty seat of a model that takes `size` bytes."""
        seat = Seat(self, open_runtime, size=size)
        with self._changed:
            self._seats.add(seat)
        return seat

    def fix(self, fixed: Collection[Seat]) -> None:
        """Bring these in and keep them, and let others go when there is need. Blocks."""
        with self._changed:
            for seat in self._seats:
                seat.fixed = seat in fixed
        for seat in fixed:
            seat.bring()
            seat.release()

    def load(self, seat: Seat, open_runtime: Callable[[], Runtime]) -> Runtime:
        """Make room and open a model in the calling thread. Raises what opening raises."""
        self._make_room(seat)
        began = time.monotonic()
        try:
            runtime = open_runtime()
        except Exception:
            with self._changed:
                seat.counted = False
                self.counts = replace(self.counts, failures=self.counts.failures + 1)
                self._changed.notify_all()
            raise
        with self._changed:
            counts = self.counts
            self.counts = replace(
                counts,
                loads=counts.loads + 1,
                seconds=counts.seconds + time.monotonic() - began,
            )
        return runtime

    def released(self) -> None:
        """A seat is held by one fewer."""
        if self._waiting:
            with self._changed:
                self._changed.notify_all()

    @property
    def used(self) -> int:
        """Bytes of the models in memory, and of those being loaded."""
        with self._changed:
            return self._used()

    @property
    def here(self) -> int:
        """How many models are in memory."""
        with self._changed:
            return sum(seat.presence.state is State.HERE for seat in self._seats)

    def _make_room(self, seat: Seat) -> None:
        """Wait for those that run, if need be; what cannot be helped passes the budget."""
        with self._changed:
            while self._used() + seat.size > self.budget:
                if self._evict_one():
                    continue
                if not any(other.busy and other.counted for other in self._seats):
                    break
                self._waiting += 1
                self._changed.wait(_LOOK_SECONDS)
                self._waiting -= 1
            seat.counted = True

    def _evict_one(self) -> bool:
        """The least recently used one that nobody holds; False if there is none."""
        idle = [seat for seat in self._seats if seat.counted and not seat.fixed and not seat.busy]
        for seat in sorted(idle, key=lambda each: each.used_ns):
            if seat.vacate():
                seat.counted = False
                self.counts = replace(self.counts, evictions=self.counts.evictions + 1)
                return True
        return False

    def _used(self) -> int:
        return sum(seat.size for seat in self._seats if seat.counted)
