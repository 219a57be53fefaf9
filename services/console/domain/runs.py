"""Pipeline runs with their steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from headrace.events import PipelineRunChanged, PipelineRunRequested, StepChanged
from headrace.events.orchestrator import RunState, StepState
from services.console.domain.facts import Fact


@dataclass(frozen=True, kw_only=True, slots=True)
class StepView:
    """The latest state of one step; `fact` is the event that said so."""

    name: str
    state: StepState
    attempt: int
    worker: str | None
    began: datetime | None
    seconds: float | None
    error: str | None
    fact: Fact


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """One pipeline run; `ended` is None while it goes on.

    `planned` names the steps still to come, as far as a finished run of the pipeline tells.
    """

    id: str
    pipeline: str
    model: str | None
    state: RunState
    began: datetime
    ended: datetime | None
    error: str | None
    correlation_id: str | None
    steps: tuple[StepView, ...]
    planned: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        return (self.ended - self.began).total_seconds() if self.ended else None


def runs(facts: Iterable[Fact]) -> tuple[RunView, ...]:
    """Every pipeline run among these events, newest first."""
    by_run: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if isinstance(fact.data, PipelineRunRequested | PipelineRunChanged | StepChanged):
            by_run[fact.data.pipeline_run_id].append(fact)
    views = [_run(key, sorted(own, key=lambda fact: fact.rank)) for key, own in by_run.items()]
    views.sort(key=lambda run: (run.began, run.id), reverse=True)
    known = {
        run.pipeline: tuple(step.name for step in run.steps)
        for run in reversed(views)
        if run.state == "succeeded"
    }
    return tuple(_with_plan(run, known.get(run.pipeline, ())) for run in views)


def _with_plan(run: RunView, known: tuple[str, ...]) -> RunView:
    if run.ended is not None:
        return run
    begun = {step.name for step in run.steps}
    return replace(run, planned=tuple(name for name in known if name not in begun))


def _run(key: str, facts: list[Fact]) -> RunView:
    changes = [fact for fact in facts if isinstance(fact.data, PipelineRunChanged)]
    latest = changes[-1].data if changes else None
    state: RunState = latest.state if isinstance(latest, PipelineRunChanged) else "pending"
    over = state in {"succeeded", "failed", "cancelled"}
    return RunView(
        id=key,
        pipeline=next(_pipeline(fact) for fact in facts),
        model=next((fact.model for fact in facts if fact.model), None),
        state=state,
        began=facts[0].at,
        ended=changes[-1].at if over else None,
        error=latest.error if isinstance(latest, PipelineRunChanged) else None,
        correlation_id=next((fact.correlation_id for fact in facts if fact.correlation_id), None),
        steps=_steps(facts),
    )


def _pipeline(fact: Fact) -> str:
    data = fact.data
    if isinstance(data, PipelineRunRequested | PipelineRunChanged | StepChanged):
        return data.pipeline
    raise TypeError(f"{fact.name} is no event of a pipeline run")


def _steps(facts: Iterable[Fact]) -> tuple[StepView, ...]:
    by_step: defaultdict[str, list[tuple[Fact, StepChanged]]] = defaultdict(list)
    for fact in facts:
        if isinstance(fact.data, StepChanged):
            by_step[fact.data.step].append((fact, fact.data))
    views = []
    for name, changes in by_step.items():
        fact, latest = max(changes, key=lambda pair: (pair[1].attempt, *pair[0].rank))
        running = [own.at for own, data in changes if data.state == "running"]
        views.append(
            StepView(
                name=name,
                state=latest.state,
                attempt=latest.attempt,
                worker=latest.worker,
                began=max(running, default=None),
                seconds=latest.seconds,
                error=latest.error,
                fact=fact,
            )
        )
    return tuple(sorted(views, key=lambda step: (step.began is None, step.began or step.fact.at)))
