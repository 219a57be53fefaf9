"""The places that worker processes fill: one member of one service's group each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Slot:
    """Whoever fills it, first process or successor, is the same static member."""

    service: str
    instance: int

    def __str__(self) -> str:
        return f"{self.service}-{self.instance}"


PRODUCERS: Final = (Slot("registry", 0), Slot("registry", 1))
"""They change aggregates, emit the first hop and consume the second."""
CONSUMERS: Final = (Slot("orchestrator", 0), Slot("orchestrator", 1))
"""They consume the first hop and emit the second."""
STANDING: Final = (*PRODUCERS, *CONSUMERS)
EXTRA: Final = Slot("orchestrator", 2)
"""Joins and leaves in mid-stream."""
ALL: Final = (*STANDING, EXTRA)
