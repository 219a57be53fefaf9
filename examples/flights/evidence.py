"""What the gate gets to see: both models on the same rows."""

from __future__ import annotations

import math

from examples.flights.training import Metrics
from headrace.events.registry import GateEvidence, MetricPair


def gate_evidence(
    *,
    dataset: str,
    dataset_version: int,
    dataset_digest: str,
    challenger: Metrics,
    champion: Metrics | None,
    champion_version: int | None,
) -> GateEvidence:
    """Log loss of both models on the same rows.

    Whether the difference is good enough is the gate's to say, by the margins of its policy; the
    evidence itself fails only if the challenger gave no usable figure. The gate judges every
    metric that stands in the evidence, so only the deciding one does.
    """
    pair = MetricPair(
        metric="log_loss",
        champion=log_loss_of(champion),
        challenger=challenger.log_loss,
        higher_is_better=False,
    )
    usable = math.isfinite(pair.challenger)
    reasons = [] if usable else [f"the challenger's log loss is {pair.challenger}"]
    return GateEvidence(
        dataset=dataset,
        dataset_version=dataset_version,
        dataset_digest=dataset_digest,
        rows=challenger.rows,
        champion_version=champion_version,
        metrics=[pair],
        passed=usable,
        reasons=reasons,
    )


def log_loss_of(metrics: Metrics | None) -> float | None:
    """Of a model that may not be there."""
    return None if metrics is None else metrics.log_loss
