"""What is going to happen to an event in its handler, drawn when it is first met."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from headrace.errors import Permanent, Transient

_HOPELESS: Final = 0.04
_BROKEN: Final = 0.03
_FLAKY: Final = 0.08
_LONGEST_SICKNESS: Final = 5.0


class Unexpected(Exception):
    """What a handler with a defect raises: neither Transient nor Permanent."""


@dataclass(kw_only=True, slots=True)
class Fates:
    """Fates of events and of keys; a key may be sick for a while, whatever comes for it."""

    random: random.Random
    _drawn: set[str] = field(default_factory=set)
    _hopeless: dict[str, type[Exception]] = field(default_factory=dict)
    _failures_left: dict[str, int] = field(default_factory=dict)
    _sick_until: dict[str, float] = field(default_factory=dict)

    def _draw(self, event: str) -> None:
        self._drawn.add(event)
        draw = self.random.random()
        if draw < _HOPELESS:
            self._hopeless[event] = Permanent
        elif draw < _HOPELESS + _BROKEN:
            self._hopeless[event] = Unexpected
        elif draw < _HOPELESS + _BROKEN + _FLAKY:
            self._failures_left[event] = self.random.randint(1, 4)

    def sicken(self, group: str, key: str, *, now: float) -> None:
        """Let everything fail that comes to a group for a key, for a while."""
        self._sick_until[f"{group} {key}"] = now + self.random.uniform(0.5, _LONGEST_SICKNESS)

    def meet(self, *, group: str, event: str, key: str, now: float) -> None:
        """Raise what a handler of that group is to raise for the event at this moment."""
        if event not in self._drawn:
            self._draw(event)
        if event in self._hopeless:
            raise self._hopeless[event](f"{event} is not wanted")
        if now < self._sick_until.get(f"{group} {key}", 0.0):
            raise Transient(f"{key} is sick")
        left = self._failures_left.get(event, 0)
        if left:
            self._failures_left[event] = left - 1
            raise (Transient if left % 2 else Unexpected)(f"{event} fails for now")
