"""The state of the process: folds what the tails bring."""

from __future__ import annotations

from typing import Any

from headrace.events import EventData, PredictionLogged
from headrace.events.topics import SERVING_LOG, VIEWS
from headrace.runtime.bus import Event, Tombstone
from services.console.domain.facts import Fact, ReadModel
from services.console.domain.traffic import Traffic

FACT_TOPICS = tuple(topic for topic in VIEWS["console"] if topic != SERVING_LOG)
"""Read from their beginning at every start; the prediction log is read from its end.

What holds now comes from the state topics, which forget nothing; what happened comes from the
event topics, as far as their retention reaches.
"""


class Live:
    """What is known now. `revision` grows with every change of the facts, not with traffic."""

    def __init__(self) -> None:
        self.facts = ReadModel()
        self.traffic = Traffic()
        self.revision = 0

    async def on_fact(self, event: Event[Any]) -> None:
        """Fold one event of the fact topics."""
        if isinstance(event.data, EventData) and self.facts.fold(
            Fact.of(event.envelope, event.data)
        ):
            self.revision += 1

    async def on_tombstone(self, tombstone: Tombstone) -> None:
        """Forget a state that is gone."""
        if self.facts.forget(tombstone.contract.name, tombstone.key, at=tombstone.at):
            self.revision += 1

    async def on_prediction(self, event: Event[Any]) -> None:
        """Count one micro-batch of the prediction log, unless the model failed on its rows."""
        batch = event.data
        if isinstance(batch, PredictionLogged) and batch.event_times_us and not batch.error:
            self.traffic.add(
                batch.model,
                second=batch.logged_at_us // 1_000_000,
                rows=len(batch.event_times_us),
                last_event_us=max(batch.event_times_us),
            )

    @property
    def models(self) -> tuple[str, ...]:
        """Every model heard of: by facts first, then those that only answer."""
        known = self.facts.models
        return (*known, *sorted(self.traffic.models - set(known)))
