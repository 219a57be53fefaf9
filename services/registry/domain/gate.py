"""The gate: whether a challenger's evidence allows it to become champion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from headrace.errors import Conflict
from headrace.events import GateEvidence, MetricPair

DIRECTIONS: Final[Mapping[str, bool]] = {
    "accuracy": True,
    "auc": True,
    "average_precision": True,
    "f1": True,
    "r2": True,
    "brier": False,
    "log_loss": False,
    "mae": False,
    "mse": False,
    "rmse": False,
}
"""Whether higher is better, of metrics whose name says it: evidence may not turn them around."""

NO_CHAMPION: Final = "no champion to compare with"


class Verdict(StrEnum):
    """What the gate says."""

    PASSED = "passed"
    FAILED = "failed"
    UNPROVEN = "unproven"
    """There is a champion and no evidence: nothing speaks for or against, a person decides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How promotions of one model are decided.

    `margins` by metric: how much worse than the champion a challenger may be, in units of the
    metric. The metrics named there must be in the evidence and are judged; with none named,
    every metric of the evidence is judged with margin 0.
    """

    auto_promote: bool = True
    margins: Mapping[str, float] = field(default_factory=dict)
    min_rows: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownDataset:
    """What the registry itself knows of the dataset version that the evidence names."""

    digest: str
    rows: int
    model: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """The verdict and why, in sentences."""

    verdict: Verdict
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)


def check_champion_named(evidence: GateEvidence | None, champion: int | None) -> None:
    """Compare-and-set: raises Conflict when the evidence was made against another champion."""
    if evidence is not None and evidence.champion_version != champion:
        raise Conflict(
            f"the champion moved: the evidence was made against {_name(evidence.champion_version)}"
            f", the champion is {_name(champion)} now; evaluate again"
        )


def judge(
    evidence: GateEvidence | None,
    *,
    model: str,
    champion: int | None,
    dataset: KnownDataset | None,
    policy: Policy,
) -> GateResult:
    """Pure verdict; `dataset` is what is stored under the name and version in the evidence."""
    if evidence is None:
        if champion is None:
            return GateResult(verdict=Verdict.PASSED, reasons=(NO_CHAMPION,))
        return GateResult(
            verdict=Verdict.UNPROVEN,
            reasons=(f"no evidence against champion version {champion}",),
        )
    faults = [
        *_dataset_faults(evidence, model=model, dataset=dataset),
        *_evidence_faults(evidence, champion=champion),
    ]
    if champion is not None:
        faults.extend(_comparison_faults(evidence, policy))
    if faults:
        return GateResult(verdict=Verdict.FAILED, reasons=tuple(faults))
    if champion is None:
        return GateResult(verdict=Verdict.PASSED, reasons=(NO_CHAMPION,))
    return GateResult(
        verdict=Verdict.PASSED,
        reasons=tuple(_describe(pair) for pair in _judged(evidence, policy)),
    )


def _dataset_faults(
    evidence: GateEvidence, *, model: str, dataset: KnownDataset | None
) -> Iterator[str]:
    name = f"dataset {evidence.dataset} version {evidence.dataset_version}"
    if dataset is None:
        yield f"{name} does not exist"
        return
    if dataset.digest != evidence.dataset_digest:
        yield f"{name} has digest {dataset.digest}, the evidence says {evidence.dataset_digest}"
    if dataset.model is not None and dataset.model != model:
        yield f"{name} holds predictions of model {dataset.model}, not of {model}"
    if evidence.rows > dataset.rows:
        yield f"{name} has {dataset.rows} rows, the evidence claims {evidence.rows}"


def _evidence_faults(evidence: GateEvidence, *, champion: int | None) -> Iterator[str]:
    if evidence.champion_version != champion:
        yield (
            f"evidence was made against {_name(evidence.champion_version)}, "
            f"the champion is {_name(champion)}"
        )
    if not evidence.passed:
        yield from evidence.reasons or ["the evidence itself says that it did not pass"]
    metrics = [pair.metric for pair in evidence.metrics]
    yield from (
        f"metric {metric} stands twice in the evidence"
        for metric in sorted(set(metrics))
        if metrics.count(metric) > 1
    )


def _comparison_faults(evidence: GateEvidence, policy: Policy) -> Iterator[str]:
    if evidence.rows < policy.min_rows:
        yield f"{evidence.rows} rows are too few, the policy asks for {policy.min_rows}"
    if not evidence.metrics:
        yield "the evidence has no metrics"
    given = {pair.metric for pair in evidence.metrics}
    for metric in policy.margins:
        if metric not in given:
            yield f"metric {metric} of the policy is missing"
    for pair in _judged(evidence, policy):
        yield from _metric_faults(pair, policy.margins.get(pair.metric, 0.0))


def _metric_faults(pair: MetricPair, margin: float) -> Iterator[str]:
    if DIRECTIONS.get(pair.metric, pair.higher_is_better) != pair.higher_is_better:
        yield f"{pair.metric}: the evidence says the wrong direction is better"
        return
    if pair.champion is None:
        yield f"{pair.metric}: the champion's value is missing"
        return
    if not (math.isfinite(pair.champion) and math.isfinite(pair.challenger)):
        yield f"{pair.metric}: not a finite number ({_describe(pair)})"
        return
    worse_by = pair.champion - pair.challenger
    if not pair.higher_is_better:
        worse_by = -worse_by
    if worse_by > margin:
        yield f"{_describe(pair)}: worse by {worse_by:.6g}, allowed {margin:.6g}"


def _judged(evidence: GateEvidence, policy: Policy) -> list[MetricPair]:
    if not policy.margins:
        return list(evidence.metrics)
    return [pair for pair in evidence.metrics if pair.metric in policy.margins]


def _describe(pair: MetricPair) -> str:
    champion = "none" if pair.champion is None else f"{pair.champion:.6g}"
    return f"{pair.metric} {pair.challenger:.6g} against champion's {champion}"


def _name(version: int | None) -> str:
    return "no champion" if version is None else f"version {version}"
