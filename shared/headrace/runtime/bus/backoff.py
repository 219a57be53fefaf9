"""How long to wait before the next try."""

from __future__ import annotations

from random import Random
from typing import Final

_FIRST: Final = 0.05
_MOST_DOUBLINGS: Final = 40


def full_jitter(attempt: int, *, longest: float, random: Random) -> float:
    """Seconds: uniform up to a bound that doubles (AWS, Exponential Backoff and Jitter, 2015)."""
    return random.uniform(0, min(longest, _FIRST * 2 ** min(attempt, _MOST_DOUBLINGS)))
