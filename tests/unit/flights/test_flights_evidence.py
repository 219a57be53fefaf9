"""What the gate gets to see."""

from __future__ import annotations

import math

from examples.flights.evidence import gate_evidence
from examples.flights.training import Metrics
from headrace.events.registry import GateEvidence

DIGEST = f"sha256:{'0' * 64}"


def metrics(log_loss: float) -> Metrics:
    return Metrics(rows=100, auc=0.7, log_loss=log_loss, brier=0.2, positive_rate=0.2)


def evidence(challenger: float, champion: float | None) -> GateEvidence:
    return gate_evidence(
        dataset="d",
        dataset_version=3,
        dataset_digest=DIGEST,
        challenger=metrics(challenger),
        champion=None if champion is None else metrics(champion),
        champion_version=None if champion is None else 7,
    )


def test_both_models_stand_side_by_side_and_the_gate_may_judge() -> None:
    found = evidence(0.5, 0.4)
    (pair,) = found.metrics
    assert (pair.metric, pair.champion, pair.challenger) == ("log_loss", 0.4, 0.5)
    assert not pair.higher_is_better
    assert (found.champion_version, found.rows, found.passed) == (7, 100, True)


def test_a_first_model_has_no_champion_to_be_compared_with() -> None:
    found = evidence(0.5, None)
    assert (found.champion_version, found.metrics[0].champion) == (None, None)


def test_a_challenger_without_a_usable_figure_does_not_pass() -> None:
    found = evidence(math.nan, 0.4)
    assert not found.passed
    assert found.reasons == ["the challenger's log loss is nan"]
