"""What clients know of their writes: acknowledged, or sent and never answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Series(NamedTuple):
    """One metric of one run."""

    run_id: str
    key: str


class Seen(NamedTuple):
    """A point as it is told from others; the value as hexadecimal text, so that NaN equals NaN."""

    timestamp: int
    step: int
    value: str


def seen(timestamp: int, step: int, value: float) -> Seen:
    """Zero has no sign: as for the server, both are one value."""
    return Seen(timestamp, step, (float(value) + 0.0).hex())


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """One call: its path below the API, its body, and what it brings."""

    path: str
    body: bytes
    run_id: str
    points: tuple[tuple[str, Seen], ...]
    params: tuple[tuple[str, str], ...] = ()


@dataclass(kw_only=True, slots=True)
class Ledger:
    """Of one round; `refused` are answers that no client should get for these writes."""

    acknowledged: dict[Series, set[Seen]] = field(default_factory=lambda: defaultdict(set))
    unknown: dict[Series, set[Seen]] = field(default_factory=lambda: defaultdict(set))
    params: dict[Series, str] = field(default_factory=dict)
    unknown_params: dict[Series, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    writes: int = 0
    resent: int = 0

    def acknowledge(self, write: Write) -> None:
        """It was answered with 200."""
        self.writes += 1
        self._add(self.acknowledged, write)
        self.params.update({Series(write.run_id, key): value for key, value in write.params})

    def abandon(self, write: Write) -> None:
        """It was sent, and its client gave up: it may be there."""
        self._add(self.unknown, write)
        self.unknown_params.update(
            {Series(write.run_id, key): value for key, value in write.params}
        )

    def series(self) -> Iterable[Series]:
        """All that anybody wrote to."""
        return sorted({*self.acknowledged, *self.unknown})

    @staticmethod
    def _add(where: dict[Series, set[Seen]], write: Write) -> None:
        for key, point in write.points:
            where[Series(write.run_id, key)].add(point)
