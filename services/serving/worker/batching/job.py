"""A request that was found right and waits for its model to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.serving.worker.calls import Arrival
from services.serving.worker.failure import Code, Failure
from services.serving.worker.parameters import Options
from services.serving.worker.requests import Data, Plan
from services.serving.worker.routing.router import Choice

if TYPE_CHECKING:
    from services.serving.worker.batching.lane import Lane

_NS: Final = 1_000_000_000


class Job:
    """One request for one lane. The deadline is the caller's; `start_by_ns` its `timeout`."""

    __slots__ = (
        "arrival",
        "choice",
        "data",
        "deadline_ns",
        "lane",
        "options",
        "plan",
        "start_by_ns",
    )

    def __init__(
        self,
        arrival: Arrival,
        lane: Lane,
        choice: Choice,
        plan: Plan,
        data: Data,
        options: Options,
    ) -> None:
        self.arrival = arrival
        self.lane = lane
        self.choice = choice
        self.plan = plan
        self.data = data
        self.options = options
        deadline = arrival.details.deadline
        self.deadline_ns = None if deadline is None else int(deadline * _NS)
        timeout = options.timeout_ns
        self.start_by_ns = None if timeout is None else arrival.arrived_ns + timeout

    def lateness(self, *, start_ns: float, end_ns: float) -> Failure | None:
        """Why a run between these times is of no use to the caller; None when it is."""
        if self.deadline_ns is not None and self.deadline_ns <= end_ns:
            return Failure(
                Code.DEADLINE_EXCEEDED,
                f"the answer of model '{self.lane.model.name}' would come after the deadline",
            )
        if self.start_by_ns is not None and self.start_by_ns < start_ns:
            return Failure(Code.DEADLINE_EXCEEDED, "Request timeout expired")
        return None
