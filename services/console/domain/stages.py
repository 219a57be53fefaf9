"""How far each stage of a turn has come, and what the turn came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from headrace.events import PipelineRunChanged, PromotionDecided, RetrainDecided
from services.console.domain.facts import Fact

Kind = Literal["drift", "run", "promotion", "rollback"]
StageState = Literal["todo", "active", "done", "failed", "skipped"]
StageKey = Literal["alert", "decision", "run", "version", "promotion", "deployment", "answer"]
Outcome = Literal[
    "running", "waiting", "deployed", "answering", "finished", "rejected", "failed", "suppressed"
]

STAGES: Final[Mapping[StageKey, tuple[str, ...]]] = {
    "alert": ("DriftDetected",),
    "decision": ("RetrainDecided",),
    "run": ("PipelineRunRequested", "PipelineRunChanged", "StepChanged"),
    "version": ("ModelVersionCreated",),
    "promotion": ("PromotionRequested", "PromotionDecided"),
    "deployment": ("ModelPromoted", "ModelDeployed", "DeploymentFailed"),
    "answer": ("FirstAnswerServed",),
}
"""Stages in order, and the events that belong to each."""


def stage_state(key: StageKey, facts: Sequence[Fact]) -> StageState:
    """What the events of one stage say of it, taken alone."""
    if not facts:
        return "todo"
    judge = _JUDGES.get(key)
    return judge(facts) if judge else "done"


def _decision_state(facts: Sequence[Fact]) -> StageState:
    data = facts[-1].data
    outcome = data.outcome if isinstance(data, RetrainDecided) else "started"
    return _DECISIONS[outcome]


def _run_state(facts: Sequence[Fact]) -> StageState:
    changes = [fact.data for fact in facts if isinstance(fact.data, PipelineRunChanged)]
    state = changes[-1].state if changes else "pending"
    if state in {"failed", "cancelled"}:
        return "failed"
    return "done" if state == "succeeded" else "active"


def _promotion_state(facts: Sequence[Fact]) -> StageState:
    decided = [fact.data for fact in facts if isinstance(fact.data, PromotionDecided)]
    if not decided or decided[-1].outcome == "waiting":
        return "active"
    return "done" if decided[-1].outcome == "approved" else "failed"


def _deployment_state(facts: Sequence[Fact]) -> StageState:
    names = {fact.name for fact in facts}
    if "ModelDeployed" in names:
        return "done"
    return "failed" if "DeploymentFailed" in names else "active"


_DECISIONS: Final[Mapping[str, StageState]] = {
    "started": "done",
    "awaiting_data": "active",
    "suppressed": "skipped",
}
_JUDGES: Final[Mapping[StageKey, Callable[[Sequence[Fact]], StageState]]] = {
    "decision": _decision_state,
    "run": _run_state,
    "promotion": _promotion_state,
    "deployment": _deployment_state,
}


def progress(states: Mapping[StageKey, StageState], kind: Kind) -> dict[StageKey, StageState]:
    """Stage states of the whole turn: what it does not have is skipped, what is next is active."""
    shown = dict(states)
    for key in _ABSENT[kind]:
        if shown[key] == "todo":
            shown[key] = "skipped"
    keys = list(shown)
    reached = max((index for index, key in enumerate(keys) if states[key] != "todo"), default=-1)
    for key in keys[:reached]:
        if shown[key] == "todo":
            shown[key] = "skipped"
    over = {"failed", "skipped"} & {states[key] for key in ("decision", "run", "promotion")}
    open_stages = [key for key in keys if shown[key] == "todo"]
    if over or states["deployment"] == "failed":
        shown.update(dict.fromkeys(open_stages, "skipped"))
    elif open_stages and "active" not in shown.values() and not _ends_early(states, kind):
        shown[open_stages[0]] = "active"
    return shown


_ABSENT: Final[Mapping[Kind, tuple[StageKey, ...]]] = {
    "drift": (),
    "run": ("alert", "decision"),
    "promotion": ("alert", "decision", "run"),
    "rollback": ("alert", "decision", "run", "version", "promotion"),
}


def _ends_early(states: Mapping[StageKey, StageState], kind: Kind) -> bool:
    """A run that asked for no promotion ends with its last step."""
    return kind in {"run", "drift"} and states["run"] == "done" and states["promotion"] == "todo"


def outcome_of(
    states: Mapping[StageKey, StageState], staged: Mapping[StageKey, Sequence[Fact]]
) -> Outcome:
    asked = any(isinstance(fact.data, PromotionDecided) for fact in staged["promotion"])
    verdicts: tuple[tuple[Outcome, bool], ...] = (
        ("answering", states["answer"] == "done"),
        ("suppressed", states["decision"] == "skipped" and bool(staged["decision"])),
        ("rejected", states["promotion"] == "failed"),
        ("failed", "failed" in (states["run"], states["deployment"])),
        ("deployed", states["deployment"] == "done"),
        ("finished", states["run"] == "done" and not staged["promotion"]),
        ("waiting", states["promotion"] == "active" and asked),
    )
    return next((outcome for outcome, holds in verdicts if holds), "running")
