"""What the gate gets to see: both models on the same rows."""

from __future__ import annotations

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
    """The challenger passes unless its log loss is worse than the champion's.

    The gate judges every metric that stands in the evidence, so only the deciding one does.
    """
    pair = MetricPair(
        metric="log_loss",
        champion=log_loss_of(champion),
        challenger=challenger.log_loss,
        higher_is_better=False,
    )
    worse = pair.champion is not None and pair.challenger > pair.champion
    reasons = [f"log_loss {pair.challenger:.6f} against {pair.champion:.6f}"] if worse else []
    return GateEvidence(
        dataset=dataset,
        dataset_version=dataset_version,
        dataset_digest=dataset_digest,
        rows=challenger.rows,
        champion_version=champion_version,
        metrics=[pair],
        passed=not worse,
        reasons=reasons,
    )


def log_loss_of(metrics: Metrics | None) -> float | None:
    """Of a model that may not be there."""
    return None if metrics is None else metrics.log_loss
