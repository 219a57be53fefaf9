"""What the engine is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.ids import new_id
from headrace.pipelines import Plan
from services.orchestrator.domain.engine import Outcome
from services.orchestrator.store.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """What is asked for. `offered` are parameters that count only where the pipeline has them."""

    project: str
    pipeline: str
    parameters: Mapping[str, Any]
    requested_by: str
    correlation_id: str
    causation_id: str | None
    pipeline_run_id: str = field(default_factory=new_id)
    model: str | None = None
    drift_epoch: str | None = None
    trigger: Mapping[str, Any] = field(default_factory=dict)
    offered: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """An attempt that was handed out."""

    run: Run
    plan: Plan
    step: str
    fence: int
    attempt: int
    inputs: dict[str, dict[str, Any]]
    causation_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The end of an attempt as its worker, or the sweeper, reports it."""

    project: str
    run_id: str
    step: str
    fence: int
    outcome: Outcome
    outputs: Mapping[str, Any] = field(default_factory=dict)
    datasets: Sequence[Mapping[str, Any]] = ()
    promotions: Sequence[Mapping[str, Any]] = ()
    manifest_digest: str | None = None
    manifest_uri: str | None = None
    error: str | None = None
    retryable: bool = True
