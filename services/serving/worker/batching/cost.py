"""What a run of a model costs, from the runs that there were: base + slope x rows."""

from __future__ import annotations

from typing import Final

_FORGETS: Final = 0.95
"""What a run's weight shrinks to with each later run: about the last twenty count."""
_LONGEST: Final = 4.0
"""Times its estimate that one run may count for: it was not the model that had to wait so long."""
_REACH: Final = 8.0
"""Times the usual rows for which an estimate is worth something."""


class Cost:
    """Least squares over the rows and nanoseconds of runs, the recent ones weighing most.

    Written and read by several threads: an estimate may miss the newest run, and is never
    nonsense.
    """

    __slots__ = ("_fit", "_sums")

    def __init__(self) -> None:
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._fit = (0.0, 0.0)

    @property
    def known(self) -> bool:
        """Whether any run was seen."""
        return self._sums[0] > 0

    def add(self, rows: int, ns: int) -> None:
        """A run of so many rows took so long."""
        if self.known:
            ns = min(ns, round(_LONGEST * self.estimate(rows)))
        weight, x, y, xx, xy = (_FORGETS * total for total in self._sums)
        sums = (weight + 1, x + rows, y + ns, xx + rows * rows, xy + rows * ns)
        self._fit = _line(*sums)
        self._sums = sums

    def reaches(self, rows: int) -> bool:
        """Whether runs were large enough lately to tell what one of so many rows would take."""
        weight, x = self._sums[:2]
        return rows * weight <= _REACH * x

    def estimate(self, rows: int) -> float:
        """Nanoseconds that a run of so many rows will take; 0 when nothing is known."""
        base, slope = self._fit
        return base + slope * rows


def _line(weight: float, x: float, y: float, xx: float, xy: float) -> tuple[float, float]:
    """Base and slope, neither negative; all of the cost is the base while no two runs differ."""
    spread = weight * xx - x * x
    if spread <= 1e-6 * weight * xx:
        return y / weight, 0.0
    slope = (weight * xy - x * y) / spread
    if slope <= 0:
        return y / weight, 0.0
    base = (y - slope * x) / weight
    return (base, slope) if base >= 0 else (0.0, xy / xx)
