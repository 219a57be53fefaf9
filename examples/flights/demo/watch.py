"""Following the loop from outside: the facts on Kafka, put in the order of their causes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from examples.flights.demo import lines
from headrace.events import (
    AlertRaised,
    AlertResolved,
    DeploymentFailed,
    DriftDetected,
    EventData,
    ModelDeployed,
    MonitoredDayClosed,
    PipelineRunChanged,
    PromotionDecided,
    RetrainDecided,
)
from headrace.runtime.bus import Event


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One fact of the loop: what, when by the wall clock, caused by what."""

    name: str
    id: str
    correlation_id: str
    causation_id: str | None
    wall: datetime
    data: EventData


@dataclass(kw_only=True)
class Watch:
    """The loop of some models as its facts arrive.

    `tell` gets a line for each fact that a person wants to see; drift of the `unlooped` models,
    which starts nothing, is kept for the report only.
    """

    tell: Callable[[str], None]
    unlooped: frozenset[str] = frozenset()
    facts: list[Seen] = field(default_factory=list)
    closed: dict[str, date] = field(default_factory=dict)
    open_epochs: dict[str, str] = field(default_factory=dict)
    undecided: dict[str, str] = field(default_factory=dict)
    days: list[MonitoredDayClosed] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_event(self, event: Event[Any]) -> None:
        """Take one fact."""
        data = event.data
        if not isinstance(data, EventData):
            return
        if isinstance(data, MonitoredDayClosed):
            self._close_day(data)
        else:
            self.facts.append(_seen(event))
        self._follow(event)
        self._tell(data)
        self.changed.set()

    async def until(self, met: Callable[[], bool], *, seconds: float) -> bool:
        """Wait until something holds; False if it did not in time."""
        deadline = time.monotonic() + seconds
        while not met():
            self.changed.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(self.changed.wait(), min(left, 1.0))
            except TimeoutError:
                continue
        return True

    def closed_through(self, model: str) -> date:
        """The last day that monitoring has judged."""
        return self.closed.get(model, date.min)

    def retraining(self, model: str) -> bool:
        """Whether a drift epoch of the model is open, or an alarm not yet decided upon."""
        return model in self.open_epochs or model in self.undecided.values()

    def _close_day(self, data: MonitoredDayClosed) -> None:
        day = date.fromisoformat(data.day)
        self.closed[data.model] = max(day, self.closed_through(data.model))
        self.days.append(data)

    def _follow(self, event: Event[Any]) -> None:
        match event.data:
            case DriftDetected(model=model):
                self.undecided[event.id] = model
            case RetrainDecided() as decided:
                self.undecided.pop(decided.drift_event_id, None)
                if decided.outcome != "suppressed":
                    self.open_epochs[decided.model] = decided.drift_epoch
            case ModelDeployed(model=model) | DeploymentFailed(model=model):
                self.open_epochs.pop(model, None)
            case PromotionDecided(model=model, outcome="rejected"):
                self.open_epochs.pop(model, None)
            case PipelineRunChanged(model=str(model), state="failed" | "cancelled"):
                self.open_epochs.pop(model, None)
            case _:
                pass

    def _tell(self, data: EventData) -> None:
        drifts = isinstance(data, AlertRaised | AlertResolved | DriftDetected | RetrainDecided)
        if drifts and getattr(data, "model", None) in self.unlooped:
            return
        line = lines.line(data)
        if line:
            self.tell(line)


def _seen(event: Event[Any]) -> Seen:
    return Seen(
        name=type(event.data).__name__,
        id=event.id,
        correlation_id=event.correlation_id,
        causation_id=event.envelope.causation_id,
        wall=event.time,
        data=event.data,
    )
