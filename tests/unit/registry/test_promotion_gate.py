"""What the gate lets through, and what it says of the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headrace.errors import Conflict
from headrace.events import GateEvidence, MetricPair
from services.registry.domain.gate import (
    NO_CHAMPION,
    GateResult,
    KnownDataset,
    Policy,
    Verdict,
    check_champion_named,
    judge,
)

DIGEST = f"sha256:{'a' * 64}"
STORED = KnownDataset(digest=DIGEST, rows=1000, model="flights")


def log_loss(champion: float | None, challenger: float) -> MetricPair:
    return MetricPair(
        metric="log_loss", champion=champion, challenger=challenger, higher_is_better=False
    )


def auc(champion: float | None, challenger: float) -> MetricPair:
    return MetricPair(metric="auc", champion=champion, challenger=challenger, higher_is_better=True)


def proof(*metrics: MetricPair, **changes: Any) -> GateEvidence:
    fields: dict[str, Any] = {
        "dataset": "flights-labelled",
        "dataset_version": 4,
        "dataset_digest": DIGEST,
        "rows": 500,
        "champion_version": 3,
        "metrics": list(metrics),
        "passed": True,
    }
    return GateEvidence(**{**fields, **changes})


def verdict(
    evidence: GateEvidence | None,
    *,
    champion: int | None = 3,
    dataset: KnownDataset | None = STORED,
    policy: Policy | None = None,
) -> GateResult:
    return judge(
        evidence,
        model="flights",
        champion=champion,
        dataset=dataset,
        policy=policy or Policy(),
    )


def test_the_first_version_has_nobody_to_beat() -> None:
    result = verdict(None, champion=None)
    assert (result.verdict, result.reason) == (Verdict.PASSED, NO_CHAMPION)


def test_without_evidence_against_a_champion_nothing_is_proven() -> None:
    assert verdict(None).verdict is Verdict.UNPROVEN


def test_as_good_as_the_champion_is_good_enough() -> None:
    result = verdict(proof(log_loss(0.5, 0.5), auc(0.7, 0.7)))
    assert result.verdict is Verdict.PASSED


def test_a_margin_allows_being_a_little_worse() -> None:
    policy = Policy(margins={"log_loss": 0.01})
    assert verdict(proof(log_loss(0.50, 0.505)), policy=policy).verdict is Verdict.PASSED
    result = verdict(proof(log_loss(0.50, 0.52)), policy=policy)
    assert result.verdict is Verdict.FAILED
    assert result.reason == ("log_loss 0.52 against champion's 0.5: worse by 0.02, allowed 0.01")


def test_only_the_metrics_of_the_policy_are_judged() -> None:
    policy = Policy(margins={"log_loss": 0.0})
    assert verdict(proof(log_loss(0.5, 0.4), auc(0.9, 0.1)), policy=policy).verdict is (
        Verdict.PASSED
    )


@pytest.mark.parametrize(
    ("evidence", "dataset", "policy", "reason"),
    [
        (proof(auc(0.6, 0.7)), None, Policy(), "does not exist"),
        (
            proof(auc(0.6, 0.7), dataset_digest=f"sha256:{'b' * 64}"),
            STORED,
            Policy(),
            "has digest",
        ),
        (
            proof(auc(0.6, 0.7)),
            KnownDataset(digest=DIGEST, rows=1000, model="buses"),
            Policy(),
            "predictions of model buses",
        ),
        (proof(auc(0.6, 0.7), rows=1001), STORED, Policy(), "has 1000 rows"),
        (proof(auc(0.6, 0.7)), STORED, Policy(min_rows=501), "500 rows are too few"),
        (proof(auc(0.6, 0.7), champion_version=2), STORED, Policy(), "made against version 2"),
        (proof(auc(0.6, 0.7), champion_version=None), STORED, Policy(), "against no champion"),
        (proof(), STORED, Policy(), "no metrics"),
        (proof(auc(0.6, 0.7)), STORED, Policy(margins={"log_loss": 1}), "log_loss of the policy"),
        (proof(auc(None, 0.7)), STORED, Policy(), "champion's value is missing"),
        (proof(auc(0.6, math.nan)), STORED, Policy(), "not a finite number"),
        (proof(auc(0.6, math.inf)), STORED, Policy(), "not a finite number"),
        (proof(auc(0.6, 0.7), auc(0.6, 0.8)), STORED, Policy(), "stands twice"),
        (
            proof(auc(0.6, 0.7), passed=False, reasons=["parity"]),
            STORED,
            Policy(),
            "parity",
        ),
    ],
)
def test_it_fails_and_says_why(
    evidence: GateEvidence, dataset: KnownDataset | None, policy: Policy, reason: str
) -> None:
    result = verdict(evidence, dataset=dataset, policy=policy)
    assert result.verdict is Verdict.FAILED
    assert reason in result.reason


def test_every_fault_is_named() -> None:
    result = verdict(proof(auc(0.7, 0.6), log_loss(0.5, 0.6), rows=2), policy=Policy(min_rows=10))
    assert len(result.reasons) == 3


def test_evidence_against_another_champion_is_a_conflict() -> None:
    check_champion_named(None, 3)
    check_champion_named(proof(auc(0.6, 0.7)), 3)
    with pytest.raises(Conflict, match="against version 3, the champion is version 4 now"):
        check_champion_named(proof(auc(0.6, 0.7)), 4)


def test_evidence_cannot_turn_a_known_metric_around() -> None:
    turned = MetricPair(metric="log_loss", champion=0.1, challenger=9.0, higher_is_better=True)

    result = verdict(proof(turned))

    assert result.verdict is Verdict.FAILED
    assert "wrong direction" in result.reason
