"""Turns of the loop: everything that shares one correlation id, told as stages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from headrace.events import (
    DriftDetected,
    EventData,
    ModelDeployed,
    ModelPromoted,
    ModelVersionCreated,
    PipelineRunRequested,
    PromotionDecided,
    PromotionRequested,
)
from services.console.domain.facts import CHAMPION, Fact
from services.console.domain.order import causal
from services.console.domain.runs import RunView, runs
from services.console.domain.stages import (
    STAGES,
    Kind,
    Outcome,
    StageKey,
    StageState,
    outcome_of,
    progress,
    stage_state,
)

Data = TypeVar("Data", bound=EventData)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of a turn; `facts` are its events in time order."""

    key: StageKey
    state: StageState
    facts: tuple[Fact, ...]

    @property
    def began(self) -> datetime | None:
        return self.facts[0].at if self.facts else None

    @property
    def ended(self) -> datetime | None:
        return self.facts[-1].at if self.facts and self.state != "active" else None

    @property
    def telling(self) -> Fact:
        """The event that stands for the stage: its result, but the beginning of a pipeline run."""
        return self.facts[0 if self.key == "run" else -1]

    def last(self, kind: type[Data]) -> Data | None:
        """Data of the latest event of this type in the stage."""
        found = [fact.data for fact in self.facts if isinstance(fact.data, kind)]
        return found[-1] if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Time between two milestones of a turn."""

    name: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One correlation id: from what began it to the answer of a new version, or to its end."""

    id: str
    model: str
    kind: Kind
    outcome: Outcome
    stages: tuple[Stage, ...]
    facts: tuple[Fact, ...]
    run: RunView | None
    version: int | None

    @property
    def began(self) -> datetime:
        return self.facts[0].at

    @property
    def ended(self) -> datetime | None:
        """When it was over; None while it goes on."""
        if self.outcome in {"running", "waiting"}:
            return None
        answer = self.stage("answer")
        return answer.facts[0].at if answer.facts else self.facts[-1].at

    @property
    def seconds(self) -> float | None:
        """From its first event to its end."""
        return (self.ended - self.began).total_seconds() if self.ended else None

    @property
    def drift(self) -> DriftDetected | None:
        return self.stage("alert").last(DriftDetected)

    @property
    def decision(self) -> PromotionDecided | None:
        return self.stage("promotion").last(PromotionDecided)

    def stage(self, key: StageKey) -> Stage:
        return next(stage for stage in self.stages if stage.key == key)

    def phases(self) -> tuple[Phase, ...]:
        """What the time went into, without gaps or overlaps, from the first event on."""
        phases, before = [], self.began
        for name, moment in _milestones(self):
            if moment is not None and moment >= before:
                phases.append(Phase(name=name, seconds=(moment - before).total_seconds()))
                before = moment
        return tuple(phases)


def turns(facts: Iterable[Fact], model: str) -> tuple[Turn, ...]:
    """Turns of a model, newest first. Drift that the policy suppressed is no turn.

    A version is often logged before, and outside of, the chain that promotes it: its
    ModelVersionCreated is then shown with the promotion all the same.
    """
    known = list(facts)
    ran = {run.correlation_id: run for run in reversed(runs(known))}
    chains: defaultdict[str, list[Fact]] = defaultdict(list)
    births: dict[int, Fact] = {}
    for fact in known:
        if fact.correlation_id:
            chains[fact.correlation_id].append(fact)
        if isinstance(fact.data, ModelVersionCreated) and fact.data.model == model:
            births[fact.data.version] = fact
    found = (_turn(key, chain, model, births, ran.get(key)) for key, chain in chains.items())
    return tuple(
        sorted(
            (turn for turn in found if turn is not None and turn.outcome != "suppressed"),
            key=lambda turn: (turn.began, turn.id),
            reverse=True,
        )
    )


def _turn(
    key: str,
    chain: Sequence[Fact],
    model: str,
    births: Mapping[int, Fact],
    run: RunView | None,
) -> Turn | None:
    kind = _kind(chain)
    if kind is None or not any(fact.model == model for fact in chain):
        return None
    ordered = causal(chain)
    version = _version(ordered)
    staged = {
        key: tuple(fact for fact in ordered if fact.name in names) for key, names in STAGES.items()
    }
    if version is not None and version in births and not staged["version"]:
        staged["version"] = (births[version],)
    states = progress({key: stage_state(key, own) for key, own in staged.items()}, kind)
    return Turn(
        id=key,
        model=model,
        kind=kind,
        outcome=outcome_of(states, staged),
        stages=tuple(Stage(key=key, state=states[key], facts=own) for key, own in staged.items()),
        facts=ordered,
        run=run,
        version=version,
    )


def _kind(chain: Sequence[Fact]) -> Kind | None:
    names = {fact.name for fact in chain}
    promoted = [fact.data for fact in chain if isinstance(fact.data, ModelPromoted)]
    if "DriftDetected" in names:
        return "drift"
    if names & {"PipelineRunRequested", "PipelineRunChanged"}:
        return "run"
    if any(data.cause == "rollback" for data in promoted):
        return "rollback"
    if names & {"PromotionRequested", "PromotionDecided", "ModelPromoted"}:
        return "promotion"
    return None


def _version(ordered: Sequence[Fact]) -> int | None:
    makers = (ModelVersionCreated, PromotionRequested, ModelPromoted, ModelDeployed)
    versions = [fact.data.version for fact in ordered if isinstance(fact.data, makers)]
    return versions[-1] if versions else None


def _milestones(turn: Turn) -> tuple[tuple[str, datetime | None], ...]:
    def first(name: str) -> datetime | None:
        return next((fact.at for fact in turn.facts if fact.name == name), None)

    def last(name: str) -> datetime | None:
        return next((fact.at for fact in reversed(turn.facts) if fact.name == name), None)

    return (
        ("Decide", last("RetrainDecided")),
        ("Start", first("PipelineRunChanged")),
        ("Train", first("ModelVersionCreated")),
        ("Gate", last("PromotionDecided")),
        ("Deploy", last("ModelDeployed")),
        ("Answer", first("FirstAnswerServed")),
    )


def requested_by(turn: Turn) -> str | None:
    """Who asked for it, if a person or a program did."""
    run = turn.stage("run").last(PipelineRunRequested)
    promotion = turn.stage("promotion").last(PromotionRequested)
    if turn.kind == "promotion":
        return promotion.requested_by if promotion else None
    return run.requested_by if run else None


def waiting_promotions(found: Iterable[Turn]) -> tuple[tuple[Turn, Fact], ...]:
    """Turns whose promotion waits for a person, with the event that says so."""
    return tuple(
        (turn, fact)
        for turn in found
        if turn.outcome == "waiting"
        for fact in turn.stage("promotion").facts[-1:]
        if isinstance(fact.data, PromotionDecided) and fact.data.alias == CHAMPION
    )
