"""How fast the replay lets event time pass.

A year passes in minutes, so a retraining of some seconds would cost weeks of event time. While
one is open the client slows so that at most one event-day passes, but it never stops: swaps
happen under traffic. Besides, event time never runs more than a day ahead of what monitoring has
judged, as it could not in the real world.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final

from examples.flights.demo.watch import Watch

_BUDGET: Final = timedelta(days=1)
_SHARE_PER_SECOND: Final = 0.06
"""Of the day that is left, this share passes in a second: the day is never used up."""

_LATENESS: Final = timedelta(hours=6)
"""A day is judged once predictions and labels have passed its end by so much."""

_PATIENCE: Final = 60.0


class EventClock:
    """Paces one looped model's replay by what the loop is doing."""

    def __init__(self, *, watch: Watch, model: str, first_day: datetime) -> None:
        self._watch = watch
        self._model = model
        self._first_day = first_day.date()
        self._slow_from: datetime | None = None
        self._now = first_day
        self._then = time.monotonic()
        self.waited_for_monitoring = 0.0
        self.slowest_retraining = timedelta(0)

    def slow(self) -> bool:
        """Whether a retraining is open."""
        return self._watch.retraining(self._model)

    async def reach(self, moment: datetime, *, labelled_through: datetime) -> None:
        """Return when event time may be `moment`; labels up to `labelled_through` are sent."""
        await self._judged(min(self._now, labelled_through))
        if self.slow():
            self._slow_from = self._slow_from or self._now
            await self._crawl(moment)
        if not self.slow() and self._slow_from is not None:
            self.slowest_retraining = max(self.slowest_retraining, self._now - self._slow_from)
            self._slow_from = None
        self._now = max(self._now, moment)
        self._then = time.monotonic()

    async def _judged(self, sent_through: datetime) -> None:
        """Wait until monitoring has judged every day that it can have judged by now."""
        due = (sent_through - _LATENESS).date() - timedelta(days=1)
        if due < self._first_day or self._watch.closed_through(self._model) >= due:
            return
        began = time.monotonic()
        await self._watch.until(
            lambda: self._watch.closed_through(self._model) >= due or self.slow(),
            seconds=_PATIENCE,
        )
        self.waited_for_monitoring += time.monotonic() - began
        await asyncio.sleep(0.02)

    async def _crawl(self, moment: datetime) -> None:
        """Let event time approach, and never pass, the end of the budget."""
        end = (self._slow_from or self._now) + _BUDGET
        while self.slow():
            elapsed = time.monotonic() - self._then
            left = (end - self._now).total_seconds()
            self._now += timedelta(seconds=left * (1 - (1 - _SHARE_PER_SECOND) ** elapsed))
            self._then = time.monotonic()
            if self._now >= moment:
                return
            await asyncio.sleep(0.01)
