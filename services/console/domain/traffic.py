"""Rows a second, from the prediction log, over the last minutes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

KEPT_SECONDS: Final = 180
RATE_SECONDS: Final = 10


@dataclass(slots=True)
class _Flow:
    rows: dict[int, int]
    total: int = 0
    dropped: int = 0
    event_time: datetime | None = None


class Traffic:
    """Counts per model and wall-clock second; memory is bounded by the seconds kept."""

    def __init__(self) -> None:
        self._flows: defaultdict[str, _Flow] = defaultdict(lambda: _Flow({}))

    def add(self, model: str, *, second: int, rows: int, last_event_us: int) -> None:
        """Count a micro-batch that was closed in that second; order does not matter."""
        flow = self._flows[model]
        flow.rows[second] = flow.rows.get(second, 0) + rows
        flow.total += rows
        moment = datetime.fromtimestamp(last_event_us / 1e6, UTC)
        flow.event_time = max(moment, flow.event_time or moment)
        newest = max(flow.rows)
        for old in [kept for kept in flow.rows if kept <= newest - KEPT_SECONDS]:
            del flow.rows[old]

    def series(self, model: str, *, now: int, seconds: int) -> tuple[int, ...]:
        """Rows in each of the last whole seconds before `now`, oldest first."""
        rows = self._flows[model].rows if model in self._flows else {}
        return tuple(rows.get(second, 0) for second in range(now - seconds, now))

    def rate(self, model: str, *, now: int) -> float:
        """Rows a second, mean of the last ten whole seconds."""
        return sum(self.series(model, now=now, seconds=RATE_SECONDS)) / RATE_SECONDS

    def total(self, model: str) -> int:
        """Rows counted since the console began to listen."""
        return self._flows[model].total if model in self._flows else 0

    def event_time(self, model: str) -> datetime | None:
        """The newest event time among the rows."""
        return self._flows[model].event_time if model in self._flows else None

    @property
    def models(self) -> frozenset[str]:
        return frozenset(self._flows)
