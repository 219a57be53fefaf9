"""One model version while it answers: what it costs, what waits for it, what was learnt of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from services.serving.worker.batching.cost import Cost
from services.serving.worker.batching.job import Job
from services.serving.worker.batching.queue import JobQueue
from services.serving.worker.failure import Code, Failure
from services.serving.worker.heads import Plans
from services.serving.worker.model import Model
from services.serving.worker.replies import Forms

_IDLE_SECONDS: Final = 10.0
"""A lane's thread ends after so long without work; the next job starts another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneLimits:
    """Of every lane. A run of at most `quick_ns` may hold up the thread that takes calls in."""

    queue: int = 4096
    batch_rows: int = 1024
    quick_ns: int = 200_000


class Lane:
    """The queue of a model version, and the thread that empties it while there is work."""

    def __init__(
        self, model: Model, *, limits: LaneLimits, run: Callable[[Lane, Sequence[Job]], None]
    ) -> None:
        self.model = model
        self.batchable = follows_rows(model)
        self.cost = Cost()
        self.plans = Plans()
        self.forms = Forms(model)
        self.running = 0
        self._counting = threading.Lock()
        self._limits = limits
        self._run = run
        self._queue = JobQueue()
        self._wakes = threading.Condition()
        self._thread: threading.Thread | None = None
        self._free_ns = 0.0

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.count

    @contextmanager
    def occupied(self, requests: int) -> Iterator[None]:
        """While so many requests run, on whichever thread."""
        with self._counting:
            self.running += requests
        try:
            yield
        finally:
            with self._counting:
                self.running -= requests

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self.waiting and not self.running

    def is_quick(self, jobs: Sequence[Job]) -> bool:
        """Whether these may run where they are asked for, by what runs have cost lately."""
        cost = self.cost
        rows = sum([job.plan.rows for job in jobs])
        if not cost.known or not cost.reaches(rows):
            return False
        runs = 1 if self.batchable else len(jobs)
        return runs * cost.estimate(rows // runs) <= self._limits.quick_ns

    def batches(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """Jobs of one shape as runs."""
        if len(jobs) == 1:
            yield jobs
            return
        queue = JobQueue()
        for job in jobs:
            queue.put(job)
        while queue.count:
            yield queue.take(self._most_rows)

    def enqueue(self, job: Job) -> None:
        """Let it wait for its turn. Raises Failure at once if it waited in vain."""
        with self._wakes:
            if self._queue.count >= self._limits.queue:
                raise Failure(
                    Code.RESOURCE_EXHAUSTED,
                    f"Exceeds maximum queue size: {self._queue.count} requests wait for model "
                    f"'{self.model.name}'",
                )
            late = self._lateness(job)
            if late is not None:
                raise late
            self._thread = self._thread or self._started()
            self._queue.put(job)
            self._wakes.notify()

    @property
    def _most_rows(self) -> int:
        return self._limits.batch_rows if self.batchable else 0

    def _lateness(self, job: Job) -> Failure | None:
        """What is known before it waits: when its turn comes and when its run ends."""
        if job.deadline_ns is None and job.start_by_ns is None:
            return None
        now = time.monotonic_ns()
        before = self._queue.rows_before(job.options.priority)
        start = max(now, self._free_ns) + (self.cost.estimate(before) if before else 0.0)
        return job.lateness(start_ns=start, end_ns=start + self.cost.estimate(job.plan.rows))

    def _started(self) -> threading.Thread:
        """A thread that serves. Raises Failure when the process can have no more of them."""
        thread = threading.Thread(target=self._serve, name=f"lane-{self.model.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise Failure(Code.RESOURCE_EXHAUSTED, str(error)) from error
        return thread

    def _serve(self) -> None:
        try:
            while self._has_work():
                self._serve_once()
        except BaseException:
            with self._wakes:
                # The next job starts another thread.
                self._thread = None
            raise

    def _serve_once(self) -> None:
        self.model.bring()
        try:
            self._run(self, self._take())
        finally:
            self.model.release()
        self._free_ns = 0.0

    def _has_work(self) -> bool:
        """Whether something waits; after a while without, the thread is to end."""
        with self._wakes:
            if not self._queue.count and not self._wakes.wait_for(
                lambda: self._queue.count, _IDLE_SECONDS
            ):
                self._thread = None
                return False
            return True

    def _take(self) -> list[Job]:
        with self._wakes:
            jobs = self._queue.take(self._most_rows)
            rows = sum(job.plan.rows for job in jobs)
            self._free_ns = time.monotonic_ns() + self.cost.estimate(rows)
            return jobs


def follows_rows(model: Model) -> bool:
    """Whether rows of several requests may share a run: all tensors are as long as the rows.

    Nor may a row's answer depend on the others.
    """
    return (
        model.independent
        and len(model.logged_outputs) == len(model.outputs)
        and all(spec.shape[:1] == (-1,) for spec in (*model.inputs, *model.outputs))
    )
