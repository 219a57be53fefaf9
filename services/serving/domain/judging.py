"""What a prediction turned out to be worth, and whose predictions are looked at. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Source = Literal["reward", "label"]
Worth = Literal["raw", "bounded", "brier", "absolute", "wrong"]
_NEVER: Final = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How the value of an outcome is made of the score and of the reward or label told for it.

    raw: what was told. bounded: its place between `low` and `low + scale`, in [0, 1]. brier:
    squared distance of score and label. absolute: their distance in units of `scale`. wrong: 1 if
    they are farther apart than `scale`. The last three are in [0, 1] and need a score.
    """

    source: Source
    worth: Worth
    scale: float = 1.0
    low: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A model whose predictions under tables `first` to `last` are measured."""

    model: str
    measure: Measure
    first: int
    last: int = _NEVER

    def covers(self, table: int) -> bool:
        """Whether predictions under this table are."""
        return self.first <= table <= self.last


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """Outcomes of an arm: number, sum and sum of squares of their values."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
