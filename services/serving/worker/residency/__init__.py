"""Which models are in memory: all of them, or those that were used last and fit a budget.

A `Seat` is one model's place in memory, taken or empty; `Residency` knows all seats of a worker
and empties those that were used least recently.
"""

from __future__ import annotations

from services.serving.worker.residency.residency import Residency
from services.serving.worker.residency.seat import HERE, Presence, Seat, State

__all__ = ["HERE", "Presence", "Residency", "Seat", "State"]
