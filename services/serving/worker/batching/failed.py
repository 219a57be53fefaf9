"""What the prediction log keeps of a request that its model failed on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.serving.worker.answered import Answered
from services.serving.worker.batching.alike import entry
from services.serving.worker.batching.job import Job
from services.serving.worker.failure import Code, Failure

_OF_THE_MODEL: Final = frozenset({Code.INTERNAL, Code.UNAVAILABLE})
"""Any other status says that the request was wrong, or that nobody waits for its answer."""


def failed(job: Job, failure: Failure) -> Sequence[Answered]:
    """The request with its inputs and the status; nothing where that is no fault of the model."""
    if failure.code not in _OF_THE_MODEL:
        return ()
    now_us = time.time_ns() // 1000
    request = entry([job], job.data.raws, (), (), now_us)
    return (replace(request, flag="error", error=failure.code.name),)
