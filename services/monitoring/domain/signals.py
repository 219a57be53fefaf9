"""The daily numbers that detectors watch, read from day statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from headrace.profiles import InputStatistics, PerformanceStatistics, ProfileSchema

Shares = Mapping[str, NDArray[np.float64]]
"""By categorical feature: the baseline's share of each category, the others' last."""


class Kind(StrEnum):
    """What an alarm is about: the inputs (and scores), or how well the scores met the truth."""

    DATA = "data"
    PERFORMANCE = "performance"


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One daily number. `rises` and `falls` say which movements are trouble."""

    name: str
    feature: str
    statistic: str
    kind: Kind
    rises: bool
    falls: bool
    smallest_spread: float
    """Standard deviations below this are taken as this: the resolution that matters."""


def _signal(
    feature: str,
    statistic: str,
    kind: Kind,
    *,
    rises: bool = True,
    falls: bool = True,
    spread: float,
) -> Signal:
    return Signal(
        name=f"{feature}.{statistic}",
        feature=feature,
        statistic=statistic,
        kind=kind,
        rises=rises,
        falls=falls,
        smallest_spread=spread,
    )


def input_signals(schema: ProfileSchema) -> list[Signal]:
    """Means, missing shares and categorical distances.

    Not the mean score: out of sample, the training days are scored by other models than the
    version itself, and two models of the same data differ in it by more than drift that matters.
    """
    signals = []
    for name in schema.numeric:
        signals.append(_signal(name, "mean", Kind.DATA, spread=1e-9))
        signals.append(_signal(name, "nulls", Kind.DATA, falls=False, spread=0.05))
    signals.extend(
        _signal(feature.name, "distance", Kind.DATA, falls=False, spread=0.005)
        for feature in schema.categorical
    )
    return signals


def performance_signals() -> list[Signal]:
    return [
        _signal("score", "log_loss", Kind.PERFORMANCE, falls=False, spread=0.005),
        _signal("score", "calibration_residual", Kind.PERFORMANCE, spread=0.005),
        _signal("score", "auc", Kind.PERFORMANCE, rises=False, spread=0.005),
    ]


def read_inputs(inputs: InputStatistics, shares: Shares) -> dict[str, float]:
    """Value by signal name; a feature without a finite value that day has no mean."""
    values: dict[str, float] = {}
    for name, (finite, missing, total, _) in zip(
        inputs.schema.numeric, inputs.moments, strict=True
    ):
        if finite:
            values[f"{name}.mean"] = float(total / finite)
        values[f"{name}.nulls"] = float(missing / inputs.weights.total)
    for feature, counts in zip(inputs.schema.categorical, inputs.counts, strict=True):
        found = counts / inputs.weights.total
        values[f"{feature.name}.distance"] = hellinger(found, shares[feature.name])
    return values


def read_performance(performance: PerformanceStatistics) -> dict[str, float]:
    """Value by signal name; what is undefined that day (the AUC of one label) is left out."""
    found = {
        "score.log_loss": performance.log_loss,
        "score.calibration_residual": performance.calibration_residual,
        "score.auc": performance.auc,
    }
    return {name: value for name, value in found.items() if value is not None}


def pooled_shares(inputs: InputStatistics) -> dict[str, NDArray[np.float64]]:
    """The baseline's shares from the statistics of all of its rows."""
    return {
        feature.name: counts / max(int(counts.sum()), 1)
        for feature, counts in zip(inputs.schema.categorical, inputs.counts, strict=True)
    }


def hellinger(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Hellinger distance of two distributions over the same categories, in [0, 1]."""
    return float(np.sqrt(max(0.0, 1.0 - np.sqrt(p * q).sum())))
