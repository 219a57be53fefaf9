"""Which predictions are short enough to be made on the event loop.

The loop also talks to the control process, so it must not stand still; yet handing a prediction of
20 us to a thread and back costs more than the prediction. So each starts in a thread, and goes on
the loop once its like were fast: the same path with a body of about the same size.
"""

from __future__ import annotations

from typing import Final

_SHORT_SECONDS: Final = 500e-6
_WEIGHT: Final = 0.2
_MAX_KNOWN: Final = 4096


class Pace:
    """What calls took lately, as a moving average by path and size. Of one thread's use."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, int], float] = {}

    def is_short(self, path: str, size: int) -> bool:
        """Whether calls like this one were answered at once."""
        return self._seconds.get((path, size.bit_length()), _SHORT_SECONDS) < _SHORT_SECONDS

    def took(self, path: str, size: int, seconds: float) -> None:
        """Such a call was answered so fast."""
        key = (path, size.bit_length())
        before = self._seconds.get(key)
        if before is None:
            if len(self._seconds) >= _MAX_KNOWN:
                self._seconds.clear()
            before = seconds
        self._seconds[key] = before + _WEIGHT * (seconds - before)
