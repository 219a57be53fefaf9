"""One line about each event and each stage: what a person on call wants to read first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace.events import (
    DatasetVersionCreated,
    DeploymentFailed,
    DriftDetected,
    EventData,
    Evidence,
    FirstAnswerServed,
    GateEvidence,
    ModelDeployed,
    ModelPromoted,
    ModelVersionCreated,
    PipelineRunChanged,
    PipelineRunRequested,
    PromotionDecided,
    PromotionRequested,
    RetrainDecided,
    StepChanged,
)
from headrace.moments import event_time, plain
from services.console.domain.stages import StageKey
from services.console.domain.turns import Stage, Turn, requested_by
from services.console.formats import duration, figure, metric, number, short, words

STAGE_TITLES: Final[Mapping[StageKey, str]] = {
    "alert": "Drift alert",
    "decision": "Retrain decided",
    "run": "Pipeline run",
    "version": "Model version",
    "promotion": "Promotion",
    "deployment": "Deployed",
    "answer": "First answer",
}


def about(data: EventData) -> str:
    """What one event says, in a line."""
    teller = _TELLERS.get(type(data))
    return plain(teller(data)) if teller else ""


def evidence(found: Evidence) -> str:
    """Why a detector spoke, in a sentence."""
    name = metric(found.statistic.replace(".", " "))
    over = f"{found.value:.3g} over its limit {found.threshold:.3g}"
    return f"{name} {over} ({found.detector})"


def gate(found: GateEvidence) -> str:
    """Both models on the gate's rows, metric by metric."""
    return ", ".join(
        f"{metric(pair.metric)} "
        + (f"{figure(pair.champion)} → " if pair.champion is not None else "")
        + figure(pair.challenger)
        for pair in found.metrics
    )


def headline(turn: Turn) -> str:
    """The turn in one sentence."""
    version = f"v{turn.version}" if turn.version else "a new version"
    since = "its alert" if turn.kind == "drift" else "the request"
    took = duration(turn.seconds)
    if turn.kind == "rollback" and turn.outcome != "running":
        return f"Rolled back to {version}"
    sentences = {
        "answering": f"{version} answered {took} after {since}",
        "deployed": f"{version} is deployed and waits for its first request",
        "finished": "The pipeline finished and asked for no promotion",
        "rejected": f"{version} was rejected, the champion stays",
        "failed": "Stopped by a failure, the champion stays",
        "waiting": f"{version} waits for approval",
        "running": _running(turn),
        "suppressed": "The policy started nothing",
    }
    return sentences[turn.outcome]


def origin(turn: Turn) -> str:
    """What began the turn."""
    drift = turn.drift
    if drift:
        return f"{words(drift.kind)} drift of v{drift.version}"
    asked = requested_by(turn)
    by = f" by {person(asked)}" if asked else ""
    return {
        "drift": "drift",
        "run": f"pipeline run asked{by}" if by else "pipeline run",
        "promotion": f"promotion asked{by}",
        "rollback": "rollback by hand",
    }[turn.kind]


def person(name: str) -> str:
    """Who asked: a pipeline run signs as `pipeline/<name>/<run id>`, people as they like."""
    kind, _, rest = name.partition("/")
    return f"pipeline {rest.partition('/')[0]}" if kind == "pipeline" and rest else name


def stage_text(stage: Stage, turn: Turn) -> str:
    """What to say under a stage of the loop."""
    if not stage.facts:
        return {"active": "next", "skipped": "not part of this turn"}.get(stage.state, "")
    if stage.key == "run" and turn.run:
        done = sum(step.state == "succeeded" for step in turn.run.steps)
        if stage.state == "failed":
            return turn.run.error or turn.run.state
        took = f" in {duration(turn.run.seconds)}" if turn.run.seconds is not None else ""
        return f"{done} of {len(turn.run.steps) + len(turn.run.planned)} steps{took}"
    if stage.key == "answer" and turn.seconds is not None:
        return f"after {duration(turn.seconds)}"
    if stage.key == "deployment":
        deployed = stage.last(ModelDeployed)
        return about(deployed) if deployed else about(stage.facts[-1].data)
    return about(stage.facts[-1].data)


def _running(turn: Turn) -> str:
    active = next((stage for stage in turn.stages if stage.state == "active"), None)
    if active is None:
        return "Turning"
    doing = {
        "alert": "Drift was detected",
        "decision": "The retrain policy is deciding",
        "run": "Retraining",
        "version": "Registering the new version",
        "promotion": "The gate compares both models",
        "deployment": "Swapping the model",
        "answer": "Waiting for the first request",
    }
    if active.key == "run" and turn.run:
        busy = [step.name for step in turn.run.steps if step.state == "running"]
        return f"Retraining: {', '.join(busy)}" if busy else "Retraining"
    return doing[active.key]


def _promotion(data: PromotionDecided) -> str:
    if data.outcome == "waiting":
        return data.reason or "waits for approval"
    by = "automatically" if data.automatic else f"by {person(data.approver or 'a person')}"
    found = f": {gate(data.evidence)}" if data.evidence else ""
    reason = f" ({data.reason})" if data.outcome == "rejected" and data.reason else ""
    return f"{data.outcome} {by}{found}{reason}"


def _dataset(data: DatasetVersionCreated) -> str:
    through = (
        f", labels through {event_time(data.labelled_through)}" if data.labelled_through else ""
    )
    return f"{data.dataset} v{data.version}, {number(data.rows)} rows{through}"


def _step(data: StepChanged) -> str:
    took = f" in {duration(data.seconds)}" if data.seconds is not None else ""
    again = f", attempt {data.attempt}" if data.attempt > 1 else ""
    return f"{data.step} {data.state}{took}{again}{f': {data.error}' if data.error else ''}"


def _deployed(data: ModelDeployed) -> str:
    how = " as ONNX" if data.converted else ""
    took = f"loaded in {data.load_ms:.0f} ms, swapped in {data.swap_ms:.1f} ms"
    return f"v{data.version}{how} {took}"


def _promoted(data: ModelPromoted) -> str:
    before = f" instead of v{data.previous_version}" if data.previous_version else ""
    return f"v{data.version} is {data.alias}{before}"


def _failed(data: DeploymentFailed) -> str:
    kept = f", v{data.kept_version} goes on answering" if data.kept_version else ""
    return f"v{data.version}: {data.reason}{kept}"


_TELLERS: Final[Mapping[type[EventData], Callable[[Any], str]]] = {
    DriftDetected: lambda data: f"{words(data.kind)}: {evidence(data.evidence)}",
    RetrainDecided: lambda data: f"{words(data.outcome)}: {data.reason}",
    DatasetVersionCreated: _dataset,
    PipelineRunRequested: lambda data: f"{data.pipeline} asked by {data.requested_by}",
    PipelineRunChanged: lambda data: (
        f"{data.pipeline} {data.state}{f': {data.error}' if data.error else ''}"
    ),
    StepChanged: _step,
    ModelVersionCreated: lambda data: (
        f"v{data.version}{f' from run {short(data.run_id)}' if data.run_id else ''}"
    ),
    PromotionRequested: lambda data: (
        f"v{data.version} to {data.alias} by {person(data.requested_by)}"
    ),
    PromotionDecided: _promotion,
    ModelPromoted: _promoted,
    ModelDeployed: _deployed,
    DeploymentFailed: _failed,
    FirstAnswerServed: lambda data: f"v{data.version} answered request {data.prediction_id}",
}
