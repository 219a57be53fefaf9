"""What an author says about one step besides its code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often a failing step runs, and how long it waits in between.

    `attempts` counts the first one. The wait before attempt n+1 is
    `backoff * factor ** (n - 1)`, at most `limit` seconds. Permanent errors are never retried;
    `on` narrows what is to exception classes of these names. Attempts that are lost with their
    worker do not count.
    """

    attempts: int = 2
    backoff: float = 1.0
    factor: float = 2.0
    limit: float = 60.0
    on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"Retry.attempts: expected 1 or more, got {self.attempts}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a step may use: numeric threads, and bytes of address space (None: no limit)."""

    threads: int = 1
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"Resources.threads: expected 1 or more, got {self.threads}")


def seconds_of(duration: str | float) -> float:
    """Seconds of a number or of a text such as 500ms, 30s, 10m, 2h, 1d."""
    if isinstance(duration, (int, float)):
        return float(duration)
    matched = _DURATION.match(duration)
    if matched is None:
        raise ValueError(f"duration {duration!r}: expected a number and one of {', '.join(_UNITS)}")
    return float(matched.group(1)) * _UNITS[matched.group(2)]
