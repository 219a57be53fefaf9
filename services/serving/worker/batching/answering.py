"""From jobs to answers: run, log, count, send; whoever is given here is answered exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from services.serving.worker.answered import Answered
from services.serving.worker.batching.alike import logged_of
from services.serving.worker.batching.failed import failed
from services.serving.worker.batching.job import Job
from services.serving.worker.batching.lane import Lane
from services.serving.worker.batching.running import Run, Unequal, feed_of, run
from services.serving.worker.calls import Arrival, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.model import Model
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.replies import Form, typed_reply
from services.serving.worker.requests import Plan
from services.serving.worker.routing.shadows import Shadows
from services.serving.worker.statistics import Execution, Statistics
from services.serving.worker.table import FirstAnswer
from services.serving.worker.tensors import decode

_US: Final = 1000


class Answering:
    """Runs jobs of one lane and answers them, from any thread."""

    def __init__(
        self,
        *,
        log: PredictionLog,
        statistics: Statistics,
        shadows: Shadows,
        first_answer: Callable[[], None],
    ) -> None:
        self._shadows = shadows
        self._log = log
        self._statistics = statistics
        self._first_answer = first_answer

    def run(self, lane: Lane, jobs: Sequence[Job]) -> None:
        """Answer jobs of one shape with one run; those that nobody waits for any more have none."""
        due = self._due(jobs)
        if not due:
            return
        with lane.occupied(len(due)):
            self._run(lane, due)

    def fail(self, job: Job, failure: Failure) -> None:
        """End a job without a run that served it."""
        model = job.lane.model
        if failure.code is Code.INTERNAL:
            job.choice.ended(time.monotonic_ns() - job.arrival.arrived_ns, failed=True)
        self.refuse(job.arrival, failure, model=model.name, version=model.version)

    def refuse(
        self, arrival: Arrival, failure: Failure, *, model: str = "", version: int = 0
    ) -> None:
        """End a call that became no job; it counts for the model if one is known."""
        total = time.monotonic_ns() - arrival.arrived_ns
        self._statistics.failed(model, version, code=failure.code, total_ns=total)
        arrival.caller.fail(arrival.call, failure)

    def _due(self, jobs: Sequence[Job]) -> Sequence[Job]:
        now = time.monotonic_ns()
        due = []
        for job in jobs:
            late = _gone(job) or job.lateness(start_ns=now, end_ns=now)
            if late is None:
                due.append(job)
            else:
                self.fail(job, late)
        return due

    def _run(self, lane: Lane, jobs: Sequence[Job]) -> None:
        try:
            ran = run(lane.model, jobs)
            answers = _answers(lane, jobs, ran)
        except Exception as error:
            self._try_alone(lane, jobs, error)
            return
        rows = sum([job.plan.rows for job in jobs])
        lane.cost.add(rows, ran.input_ns + ran.infer_ns)
        self._log.add(answers.logged)
        self._note_first(jobs, answers)
        self._count(lane.model, jobs, ran, rows)
        for job, payload in zip(jobs, answers.payloads, strict=True):
            _send(job, payload)
        self._shadow(lane.model, jobs, ran, answers)

    def _shadow(self, model: Model, jobs: Sequence[Job], ran: Run, answers: _Answers) -> None:
        for number, (job, form) in enumerate(zip(jobs, answers.forms, strict=True)):
            if not job.choice.shadows:
                continue
            outputs = [
                decode(spec.datatype, shape, pieces[number])
                for spec, shape, pieces in zip(model.outputs, form.shapes, ran.pieces, strict=True)
            ]
            feed = feed_of(model, [job], job.data.raws, job.plan.rows)
            self._shadows.offer(job.choice, feed, job.plan.rows, outputs)

    def _note_first(self, jobs: Sequence[Job], answers: _Answers) -> None:
        for job in jobs:
            reign = job.choice.reign
            if reign is None or reign.first is not None:
                continue
            first = FirstAnswer(
                prediction_id=f"{job.choice.request_id}/0", served_at_us=answers.served_at_us
            )
            if reign.note_first(first):
                self._first_answer()

    def _count(self, model: Model, jobs: Sequence[Job], ran: Run, rows: int) -> None:
        now = time.monotonic_ns()
        arrived = [job.arrival.arrived_ns for job in jobs]
        for job, at in zip(jobs, arrived, strict=True):
            job.choice.ended(now - at)
        self._statistics.executed(
            model.name,
            model.version,
            Execution(
                rows=rows,
                queue_ns=ran.began_ns * len(jobs) - sum(arrived),
                input_ns=ran.input_ns,
                infer_ns=ran.infer_ns,
                output_ns=now - ran.began_ns - ran.input_ns - ran.infer_ns,
                totals_ns=[now - at for at in arrived],
            ),
        )

    def _try_alone(self, lane: Lane, jobs: Sequence[Job], error: Exception) -> None:
        """What went wrong may be the fault of one of them: it alone shall bear it."""
        if isinstance(error, Unequal):
            lane.batchable = False
        if len(jobs) > 1:
            for job in jobs:
                self._run(lane, [job])
            return
        if not isinstance(error, Failure):
            error = Failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
        self._log.add(failed(jobs[0], error))
        self.fail(jobs[0], error)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answers:
    """Of a run: payloads and forms in the order of its jobs."""

    payloads: Sequence[bytes]
    forms: Sequence[Form]
    logged: Sequence[Answered]
    served_at_us: int


def _answers(lane: Lane, jobs: Sequence[Job], ran: Run) -> _Answers:
    now_us = time.time_ns() // _US
    forms: dict[Plan, Form] = {}
    payloads, used = [], []
    for number, job in enumerate(jobs):
        form = forms.get(job.plan)
        if form is None:
            form = forms[job.plan] = _form(lane, job.plan, ran, alone=len(jobs) == 1)
        used.append(form)
        payload = form.fill(job.choice.request_id, ran.pieces, number)
        payloads.append(typed_reply(payload) if job.options.typed else payload)
    return _Answers(
        payloads=payloads,
        forms=used,
        logged=logged_of(jobs, ran, used, now_us),
        served_at_us=now_us,
    )


def _form(lane: Lane, plan: Plan, ran: Run, *, alone: bool) -> Form:
    shapes = ran.shapes
    if not alone:
        shapes = tuple([(plan.rows, *shape[1:]) for shape in shapes])
    return lane.forms.of(plan, shapes)


def _send(job: Job, payload: bytes) -> None:
    """An answer that its transport does not take is an error of that call, and of no other."""
    arrival = job.arrival
    try:
        reply = Reply(payload=payload, metadata=job.choice.metadata)
        arrival.caller.respond(arrival.call, reply)
    except Exception as error:
        failure = Failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
        arrival.caller.fail(arrival.call, failure)


def _gone(job: Job) -> Failure | None:
    if not job.arrival.cancelled:
        return None
    return Failure(Code.CANCELLED, "the request was cancelled before its turn")
