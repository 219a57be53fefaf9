"""What the prediction log is told of a run: one entry, if its requests differ in little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.serving.worker.answered import Answered
from services.serving.worker.batching.job import Job
from services.serving.worker.batching.running import Run
from services.serving.worker.replies import Form
from services.serving.worker.table import CHAMPION

_USUAL: Final = ("", CHAMPION)
"""Arms of which the prediction log need not keep every request."""


def logged_of(jobs: Sequence[Job], ran: Run, forms: Sequence[Form], now_us: int) -> list[Answered]:
    """The requests of a run as the log keeps them; `forms` are those of their answers."""
    if _alike(jobs):
        return [_answered(jobs, ran.inputs, ran.outputs, forms[0], now_us)]
    return [
        _answered([job], job.data.raws, [pieces[number] for pieces in ran.pieces], form, now_us)
        for number, (job, form) in enumerate(zip(jobs, forms, strict=True))
    ]


def _alike(jobs: Sequence[Job]) -> bool:
    """Whether all have as many rows, and were chosen for in the same way."""
    first = jobs[0]
    rows, chosen = first.plan.rows, first.choice
    return all(
        job.plan.rows == rows
        and job.choice.routes is chosen.routes
        and job.choice.arm == chosen.arm
        and job.choice.propensity == chosen.propensity
        for job in jobs
    )


def entry(
    jobs: Sequence[Job],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    output_shapes: Sequence[tuple[int, ...]],
    now_us: int,
) -> Answered:
    """Requests that are alike; `outputs` are those that are logged. It has no flag."""
    first, choice = jobs[0], jobs[0].choice
    rows = first.plan.rows * len(jobs)
    times = [job.options.event_time_us for job in jobs]
    return Answered(
        model=first.lane.model,
        request_ids=[job.choice.request_id for job in jobs],
        event_times_us=[now_us if time is None else time for time in times],
        rows=rows,
        inputs=inputs,
        outputs=outputs,
        input_shapes=_lengthened(first.plan.shapes, rows, jobs),
        output_shapes=_lengthened(output_shapes, rows, jobs),
        table_version=choice.table_version,
        propensity=choice.propensity,
        arm=choice.arm,
        experiment=choice.experiment,
    )


def _answered(
    jobs: Sequence[Job],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    form: Form,
    now_us: int,
) -> Answered:
    choice, model = jobs[0].choice, jobs[0].lane.model
    logged = [outputs[place] for place in model.logged_outputs]
    made = entry(jobs, inputs, logged, form.logged_shapes, now_us)
    unusual = choice.arm not in _USUAL
    if unusual or choice.shadows:
        made = replace(made, flag="canary" if unusual else "", shadows=choice.shadows)
    return made


def _lengthened(
    shapes: Sequence[tuple[int, ...]], rows: int, jobs: Sequence[Job]
) -> Sequence[tuple[int, ...]]:
    if len(jobs) == 1:
        return shapes
    return [(rows, *shape[1:]) for shape in shapes]
