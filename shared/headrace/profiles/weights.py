"""Weights of rows that stand for others, such as those of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The sum of the weights of some rows, and of their squares."""

    total: float
    squares: float

    @classmethod
    def of(cls, rows: int) -> Self:
        """Rows that stand for themselves."""
        return cls(total=rows, squares=rows)

    @property
    def effective_rows(self) -> float:
        """How many rows of equal weight tell as much (Kish, Survey Sampling, 1965, 11.7)."""
        return self.total * self.total / self.squares if self.squares else 0.0

    def times(self, weight: float) -> Weights:
        """Each row stands for so many times as many."""
        return Weights(total=self.total * weight, squares=self.squares * weight * weight)

    def signed(self, sign: int) -> Weights:
        """What is to be added (1) or taken away (-1)."""
        return Weights(total=sign * self.total, squares=sign * self.squares)

    def __add__(self, other: Weights) -> Weights:
        return Weights(total=self.total + other.total, squares=self.squares + other.squares)

    def to_document(self, rows: int) -> dict[str, Any]:
        """Nothing where the rows stand for themselves."""
        if self == Weights.of(rows):
            return {}
        return {"weight": self.total, "weight_squares": self.squares}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The opposite, from a document that has the `rows` too."""
        rows = document["rows"]
        return cls(total=document.get("weight", rows), squares=document.get("weight_squares", rows))


NO_WEIGHTS: Final = Weights(total=0, squares=0)
