"""How well a binary classifier's scores met the truth, as sums that add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidInput
from headrace.profiles.weights import NO_WEIGHTS, Weights

SCORE_BINS = 1_000
"""Cells of the score histogram; the AUC read from it is off by less than 0.001."""

PROBABILITY_FLOOR = 1e-6
"""Scores are clipped to [floor, 1 - floor] in the log loss, so that no row weighs infinitely."""


def _no_scores() -> NDArray[np.int64]:
    return np.zeros((2, SCORE_BINS), dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class PerformanceStatistics:
    """Sums over labelled rows. `histogram[label, bin]` counts scores; labels are 0 or 1.

    All but `rows` are weighted; `weights` holds the sum of the rows' weights and of their squares.
    """

    rows: int = 0
    weights: Weights = NO_WEIGHTS
    positives: float = 0
    score_sum: float = 0.0
    log_loss_sum: float = 0.0
    squared_error_sum: float = 0.0
    histogram: NDArray[Any] = field(default_factory=_no_scores)

    @classmethod
    def of(cls, scores: NDArray[Any], labels: NDArray[Any]) -> PerformanceStatistics:
        """Rows whose label is NaN (no truth yet) are left out.

        `scores` are probabilities of label 1, [n] or [n, 1]; InvalidInput unless all are in
        [0, 1] and all labels 0, 1 or NaN.
        """
        score = np.asarray(scores, dtype=np.float64).reshape(-1)
        truth = np.asarray(labels, dtype=np.float64).reshape(-1)
        if len(score) != len(truth):
            raise InvalidInput(f"{len(score)} scores but {len(truth)} labels", field="labels")
        known = ~np.isnan(truth)
        score, truth = score[known], truth[known]
        _check_scores(score)
        if not np.isin(truth, (0.0, 1.0)).all():
            raise InvalidInput("labels must be 0 or 1", field="labels")
        clipped = np.clip(score, PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR)
        loss = -np.log(np.where(truth == 1.0, clipped, 1.0 - clipped))
        cells = np.minimum((score * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        flat = cells + SCORE_BINS * truth.astype(np.int64)
        histogram = np.bincount(flat, minlength=2 * SCORE_BINS).reshape(2, SCORE_BINS)
        return cls(
            rows=len(score),
            weights=Weights.of(len(score)),
            positives=int(truth.sum()),
            score_sum=float(score.sum()),
            log_loss_sum=float(loss.sum()),
            squared_error_sum=float(np.square(score - truth).sum()),
            histogram=histogram,
        )

    def merge(self, other: PerformanceStatistics) -> PerformanceStatistics:
        return self._plus(other, 1)

    def without(self, other: PerformanceStatistics) -> PerformanceStatistics:
        """Undo a merge: how a label that is superseded leaves the sums."""
        return self._plus(other, -1)

    def _plus(self, other: PerformanceStatistics, sign: int) -> PerformanceStatistics:
        return PerformanceStatistics(
            rows=self.rows + sign * other.rows,
            weights=self.weights + other.weights.signed(sign),
            positives=self.positives + sign * other.positives,
            score_sum=self.score_sum + sign * other.score_sum,
            log_loss_sum=self.log_loss_sum + sign * other.log_loss_sum,
            squared_error_sum=self.squared_error_sum + sign * other.squared_error_sum,
            histogram=self.histogram + sign * other.histogram,
        )

    def weighted(self, weight: float) -> PerformanceStatistics:
        """The same rows, each of which stands for `weight` rows."""
        if weight == 1:
            return self
        return PerformanceStatistics(
            rows=self.rows,
            weights=self.weights.times(weight),
            positives=self.positives * weight,
            score_sum=self.score_sum * weight,
            log_loss_sum=self.log_loss_sum * weight,
            squared_error_sum=self.squared_error_sum * weight,
            histogram=self.histogram * weight,
        )

    @property
    def log_loss(self) -> float | None:
        return self.log_loss_sum / self.weights.total if self.rows else None

    @property
    def brier(self) -> float | None:
        return self.squared_error_sum / self.weights.total if self.rows else None

    @property
    def positive_rate(self) -> float | None:
        return self.positives / self.weights.total if self.rows else None

    @property
    def mean_score(self) -> float | None:
        return self.score_sum / self.weights.total if self.rows else None

    @property
    def calibration_residual(self) -> float | None:
        """Mean of label minus score: above zero the model promises too little."""
        return (self.positives - self.score_sum) / self.weights.total if self.rows else None

    @property
    def auc(self) -> float | None:
        """Area under the ROC curve, ties inside a bin at one half; None without both labels."""
        negatives, positives = self.histogram[0], self.histogram[1]
        pairs = float(negatives.sum()) * float(positives.sum())
        if pairs == 0:
            return None
        below = np.cumsum(negatives) - negatives
        return float((positives * (below + 0.5 * negatives)).sum() / pairs)

    def to_document(self) -> dict[str, Any]:
        cells = np.flatnonzero(self.histogram)
        return {
            "rows": self.rows,
            **self.weights.to_document(self.rows),
            "positives": self.positives,
            "score_sum": self.score_sum,
            "log_loss_sum": self.log_loss_sum,
            "squared_error_sum": self.squared_error_sum,
            "cells": cells.tolist(),
            "counts": self.histogram.reshape(-1)[cells].tolist(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> PerformanceStatistics:
        counts = np.array(document["counts"] or [0])
        histogram = np.zeros(2 * SCORE_BINS, dtype=counts.dtype)
        histogram[document["cells"]] = document["counts"]
        return cls(
            rows=document["rows"],
            weights=Weights.from_document(document),
            positives=document["positives"],
            score_sum=document["score_sum"],
            log_loss_sum=document["log_loss_sum"],
            squared_error_sum=document["squared_error_sum"],
            histogram=histogram.reshape(2, SCORE_BINS),
        )


def _check_scores(score: NDArray[np.float64]) -> None:
    if not ((score >= 0.0) & (score <= 1.0)).all():
        raise InvalidInput("scores must be probabilities in [0, 1]", field="scores")
