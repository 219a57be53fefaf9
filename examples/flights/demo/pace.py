"""How fast the replay lets event time pass.

A year passes in minutes, so a retraining of some seconds would cost weeks of event time. While
one is open the client asks flight by flight and slows so that at most one event-day passes, but
it never stops: swaps happen under traffic. Besides, event time never runs ahead of what
monitoring has judged, as it could not in the real world.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.flights.demo.replay import Question
from examples.flights.demo.watch import Watch

_BUDGET: Final = timedelta(days=1)
_SHARE_PER_SECOND: Final = 0.06
"""Of the day's flights that are left, this share is asked in a second: they never run out."""

_LATENESS: Final = timedelta(hours=6)
"""A day is judged once predictions and labels have passed its end by so much."""

_PATIENCE: Final = 60.0


class EventClock:
    """Paces one looped model's replay by what the loop is doing.

    `departures` are the event times of the flights replayed, in order.
    """

    def __init__(self, *, watch: Watch, model: str, departures: NDArray[np.datetime64]) -> None:
        self._watch = watch
        self._model = model
        self._departures = departures
        self._first_day = departures[0].astype("datetime64[D]").item()
        self._slow_from: datetime | None = None
        self._now: datetime | None = None
        self._place = 0.0
        self._then = time.monotonic()
        self.waited_for_monitoring = 0.0
        self.slowest_retraining = timedelta(0)

    def slow(self) -> bool:
        """Whether a retraining is open."""
        return self._watch.retraining(self._model)

    async def reach(self, question: Question, *, labelled_through: datetime) -> None:
        """Return when the question may be asked; labels up to `labelled_through` are sent."""
        now = self._now or question.moment
        await self._judged(min(now, labelled_through))
        if self.slow():
            self._slow_from = self._slow_from or now
            await self._crawl(question.rows.start, self._slow_from)
        elif self._slow_from is not None:
            self.slowest_retraining = max(self.slowest_retraining, now - self._slow_from)
            self._slow_from = None
        self._now = max(now, question.moment)
        self._place = float(question.rows.start)
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

    async def _crawl(self, row: int, since: datetime) -> None:
        """Approach, and never pass, the last flight of the budget."""
        stamp = np.datetime64((since + _BUDGET).replace(tzinfo=None), "us")
        last = float(np.searchsorted(self._departures, stamp))
        while self.slow():
            elapsed = time.monotonic() - self._then
            left = max(0.0, last - self._place)
            self._place += left * (1 - (1 - _SHARE_PER_SECOND) ** elapsed)
            self._then = time.monotonic()
            if self._place >= row:
                return
            await asyncio.sleep(0.005)
