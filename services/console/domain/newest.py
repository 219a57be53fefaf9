from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import datetime
from typing import Generic, TypeVar

Value = TypeVar("Value")
Rank = tuple[str | int | datetime, ...]


class Newest(Generic[Value]):
    """The highest-ranked value of each key, and only the `keep` keys that rank highest.

    What it holds depends on the set of puts alone, never on their order or repetition: that is
    what lets topics and partitions arrive interleaved in any way. All ranks must be comparable;
    two different values never share key and rank.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._order: list[tuple[Rank, str]] = []
        self._values: dict[str, tuple[Rank, Value]] = {}

    def put(self, key: str, rank: Rank, value: Value) -> bool:
        """Whether this changed anything."""
        held = self._values.get(key)
        if held is not None:
            if held[0] >= rank:
                return False
            del self._order[bisect_left(self._order, (held[0], key))]
        elif len(self._order) >= self._keep and (rank, key) < self._order[0]:
            return False
        self._values[key] = (rank, value)
        insort(self._order, (rank, key))
        if len(self._order) > self._keep:
            del self._values[self._order.pop(0)[1]]
        return True

    def get(self, key: str) -> Value | None:
        held = self._values.get(key)
        return held[1] if held else None

    def __iter__(self) -> Iterator[Value]:
        """Values by rank, lowest first."""
        return (self._values[key][1] for _, key in self._order)

    def __len__(self) -> int:
        return len(self._order)
