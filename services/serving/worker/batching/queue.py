"""What waits for one model version: by priority, then in the order of arrival."""

from __future__ import annotations

from collections import deque
from typing import Final

from services.serving.worker.batching.job import Job
from services.serving.worker.parameters import LEVELS

_Shape = tuple[tuple[int, ...], ...]
_Level = dict[_Shape, deque[Job]]


class JobQueue:
    """Not safe for several threads: its lane holds a lock."""

    __slots__ = ("_levels", "_rows", "count")

    def __init__(self) -> None:
        self._levels: Final[tuple[_Level, ...]] = tuple({} for _ in range(LEVELS))
        self._rows = [0] * LEVELS
        self.count = 0

    def put(self, job: Job) -> None:
        level = job.options.priority - 1
        self._levels[level].setdefault(job.plan.rows_of, deque()).append(job)
        self._rows[level] += job.plan.rows
        self.count += 1

    def rows_before(self, priority: int) -> int:
        """Rows that a newcomer of this priority waits for."""
        return sum(self._rows[:priority])

    def take(self, most_rows: int) -> list[Job]:
        """The jobs of the next run: alike in shape, at most so many rows, one job at least."""
        shape = self._next_shape()
        taken: list[Job] = []
        room = most_rows
        for number, level in enumerate(self._levels):
            waiting = level.get(shape)
            while waiting and (not taken or waiting[0].plan.rows <= room):
                job = waiting.popleft()
                taken.append(job)
                room -= job.plan.rows
                self._rows[number] -= job.plan.rows
            if waiting is not None and not waiting:
                del level[shape]
            elif waiting:
                break
        self.count -= len(taken)
        return taken

    def _next_shape(self) -> _Shape:
        for level in self._levels:
            if level:
                return min(level, key=lambda shape: level[shape][0].arrival.arrived_ns)
        raise LookupError("nothing waits")
