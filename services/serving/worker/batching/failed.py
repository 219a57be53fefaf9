"""What the prediction log keeps of a request that its model failed on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from services.serving.worker.answered import Answered
from services.serving.worker.batching.job import Job
from services.serving.worker.failure import Code, Failure

_OF_THE_MODEL: Final = frozenset({Code.INTERNAL, Code.UNAVAILABLE})
"""Any other status says that the request was wrong, or that nobody waits for its answer."""


def failed(job: Job, failure: Failure) -> Sequence[Answered]:
    """The request with its inputs and the status; nothing where that is no fault of the model."""
    if failure.code not in _OF_THE_MODEL:
        return ()
    choice, at_us = job.choice, job.options.event_time_us
    return (
        Answered(
            model=job.lane.model,
            request_ids=[choice.request_id],
            event_times_us=[time.time_ns() // 1000 if at_us is None else at_us],
            rows=job.plan.rows,
            inputs=job.data.raws,
            outputs=(),
            input_shapes=job.plan.shapes,
            output_shapes=(),
            flag="error",
            table_version=choice.table_version,
            propensity=choice.propensity,
            arm=choice.arm,
            experiment=choice.experiment,
            error=failure.code.name,
        ),
    )
