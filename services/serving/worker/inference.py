"""ModelInfer: bytes of a request in, bytes of the answer out.

Every transport calls this, from any thread. Requests are checked where they arrive and then run
in batches, see `batching`. Nothing here logs, or copies rows twice.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from services.serving.worker.batching.answering import Answering
from services.serving.worker.batching.job import Job
from services.serving.worker.batching.lane import Lane, LaneLimits
from services.serving.worker.calls import Arrival, Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.heads import read_body, read_head
from services.serving.worker.model import Model
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.replies import check_typed
from services.serving.worker.requests import check_id
from services.serving.worker.routing.router import Router
from services.serving.worker.routing.shadows import Shadows
from services.serving.worker.statistics import Statistics
from services.serving.worker.table import Serving

_LIMITS: Final = LaneLimits()


class Inference:
    """Predicts with the models of the table in force."""

    def __init__(
        self,
        *,
        serving: Serving,
        log: PredictionLog,
        statistics: Statistics,
        shadows: Shadows,
        first_answer: Callable[[], None],
        max_rows: int,
        limits: LaneLimits = _LIMITS,
        lenient: bool = False,
    ) -> None:
        """`first_answer` is called, from any thread, when a new champion has answered once.

        `lenient` takes what Triton takes and we else refuse: raw entries beyond the inputs.
        """
        self._serving = serving
        self._router = Router(serving)
        self._answering = Answering(
            log=log, statistics=statistics, shadows=shadows, first_answer=first_answer
        )
        self._max_rows = max_rows
        self._limits = limits
        self._lenient = lenient
        self._lanes: dict[Model, Lane] = {}
        self._opening = threading.Lock()

    def infer(self, payload: bytes, details: Details) -> Reply:
        """Predict, and return when it is done or the deadline has passed.

        What a champion answers is put into the prediction log before it is sent. Raises Failure
        with the protocol's status and message.
        """
        waiter = _Waiter()
        arrival = Arrival(payload, details, arrived_ns=time.monotonic_ns(), caller=waiter, call=0)
        self.accept([arrival])
        return waiter.wait(arrival)

    def accept(self, arrivals: Sequence[Arrival]) -> None:
        """Predict for calls that arrived together; each one's caller gets its answer.

        Returns soon: models that take long run on threads of their own.
        """
        together: dict[object, list[Job]] = defaultdict(list)
        for arrival in arrivals:
            job = self._checked(arrival)
            if job is not None:
                together[job.lane, job.plan.rows_of].append(job)
        for jobs in together.values():
            self._submit(jobs[0].lane, jobs)

    def lanes(self) -> Sequence[Lane]:
        """The model versions that were asked lately."""
        return list(self._lanes.values())

    def _checked(self, arrival: Arrival) -> Job | None:
        """The job that a call is; one that is no request is answered so."""
        model: Model | None = None
        try:
            head = read_head(arrival.payload)
            choice = self._router.choose(head, arrival.payload, arrival.details)
            model = choice.model
            check_id(head.id)
            lane = self._lanes.get(model) or self._open(model)
            plan, data, options = read_body(
                head,
                arrival.payload,
                model,
                lane.plans,
                max_rows=self._max_rows,
                lenient=self._lenient,
            )
            if options.typed:
                check_typed(model, plan.places)
        except Exception as error:
            self._refuse(arrival, model, error)
            return None
        return Job(arrival, lane, choice, plan, data, options)

    def _refuse(self, arrival: Arrival, model: Model | None, error: Exception) -> None:
        if not isinstance(error, Failure):
            error = Failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
        if model is None:
            self._answering.refuse(arrival, error)
        else:
            self._answering.refuse(arrival, error, model=model.name, version=model.version)

    def _submit(self, lane: Lane, jobs: Sequence[Job]) -> None:
        if lane.is_quick(jobs) and lane.model.hold():
            try:
                for batch in lane.batches(jobs):
                    self._answering.run(lane, batch)
            finally:
                lane.model.release()
            return
        for job in jobs:
            try:
                lane.enqueue(job)
            except Failure as failure:
                self._answering.fail(job, failure)

    def _open(self, model: Model) -> Lane:
        """The lane of a model that is asked for the first time; lanes of gone models end."""
        with self._opening:
            lane = self._lanes.get(model)
            if lane is None:
                lane = Lane(model, limits=self._limits, run=self._answering.run)
                self._lanes = self._still_used() | {model: lane}
            return lane

    def _still_used(self) -> dict[Model, Lane]:
        entries = self._serving.table.entries.values()
        answering = {model for entry in entries for model in entry.versions.values()}
        answering |= {model for entry in entries for model in entry.arms.values()}
        answering |= {entry.champion.model for entry in entries if entry.champion}
        return {
            model: lane
            for model, lane in self._lanes.items()
            if model in answering or not lane.idle
        }


class _Waiter:
    """A thread that waits for one answer."""

    __slots__ = ("_answered", "_outcome")

    def __init__(self) -> None:
        self._answered = threading.Lock()
        self._answered.acquire()
        self._outcome: Reply | Failure | None = None

    def respond(self, call: int, reply: Reply) -> None:
        _ = call
        self._outcome = reply
        self._answered.release()

    def fail(self, call: int, failure: Failure) -> None:
        _ = call
        self._outcome = failure
        self._answered.release()

    def wait(self, arrival: Arrival) -> Reply:
        """The answer; a call whose deadline passes before it is there is given up."""
        deadline = arrival.details.deadline
        remaining = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        self._answered.acquire(timeout=min(remaining, threading.TIMEOUT_MAX))
        outcome = self._outcome
        if isinstance(outcome, Reply):
            return outcome
        if outcome is None:
            arrival.cancelled = True
            outcome = Failure(Code.DEADLINE_EXCEEDED, "the deadline passed before the answer came")
        raise outcome
