"""Cumulative sums with thresholds that keep one false-alarm budget for all of them together.

Page's CUSUM (Biometrika 1954): `S = max(0, S + deviation - allowance)`, alarm above a
threshold. The thresholds are set by replaying drift-free futures, drawn from the baseline's own
days, through all the sums at once: that keeps what ties the signals together, whatever their
number and dependence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.monitoring.domain.config import MonitorConfig


def step(total: float, deviation: float, *, allowance: float) -> float:
    return max(0.0, total + deviation - allowance)


def thresholds(deviations: NDArray[np.float64], config: MonitorConfig) -> NDArray[np.float64]:
    """Threshold by column of `deviations` [baseline days, detectors].

    Run lengths of such an alarm are close to exponential: of drift-free stretches as long as
    the budget, a share of 1/e shall pass without any alarm. Within that, every detector gets
    the same chance of a false alarm. No threshold is so low that one day could cross it.
    """
    highest = _highest_sums(deviations, config)
    lowest = config.largest_deviation - config.allowance
    quiet = np.exp(-1.0)
    fewest, most = 0.0, 1.0
    for _ in range(30):
        each = (fewest + most) / 2
        levels = np.maximum(_upper_quantile(highest, each), lowest)
        if (highest <= levels).all(axis=1).mean() >= quiet:
            fewest = each
        else:
            most = each
    return np.maximum(_upper_quantile(highest, fewest), lowest)


def _upper_quantile(sample: NDArray[np.float64], share_above: float) -> NDArray[np.float64]:
    quantile: NDArray[np.float64] = np.quantile(sample, 1.0 - share_above, axis=0, method="higher")
    return quantile


def _highest_sums(deviations: NDArray[np.float64], config: MonitorConfig) -> NDArray[np.float64]:
    """The highest value of each sum [paths, detectors] in drift-free futures of budget length."""
    days = len(deviations)
    generator = np.random.default_rng(config.seed)
    clipped = np.clip(deviations, -config.largest_deviation, config.largest_deviation)
    gains = clipped - config.allowance
    sums = np.zeros((config.bootstrap_paths, deviations.shape[1]))
    highest = np.zeros_like(sums)
    drawn = np.zeros(config.bootstrap_paths, dtype=np.int64)
    for day in range(config.false_alarm_days):
        if day % config.block_days == 0:
            drawn = generator.integers(0, days, config.bootstrap_paths)
        else:
            drawn = (drawn + 1) % days
        sums += gains[drawn]
        np.maximum(sums, 0.0, out=sums)
        np.maximum(highest, sums, out=highest)
    return highest
