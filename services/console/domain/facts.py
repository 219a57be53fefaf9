"""The fold: events become facts, kept in bounded memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from headrace.events import (
    AlertRaised,
    AlertResolved,
    DatasetVersionCreated,
    DeploymentState,
    Envelope,
    EventData,
    ModelAliasState,
    MonitoredDayClosed,
    contract_of,
)
from services.console.domain.newest import Newest

CHAMPION: Final = "champion"

LOOP_EVENTS: Final = frozenset(
    {
        "DriftDetected",
        "RetrainDecided",
        "DatasetVersionCreated",
        "PipelineRunRequested",
        "PipelineRunChanged",
        "StepChanged",
        "ModelVersionCreated",
        "PromotionRequested",
        "PromotionDecided",
        "ModelPromoted",
        "ModelDeployed",
        "DeploymentFailed",
        "FirstAnswerServed",
    }
)
"""Events that a turn of the loop is made of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One event as the console keeps it; `at` is the wall clock of the sender."""

    id: str
    name: str
    at: datetime
    correlation_id: str | None
    causation_id: str | None
    data: EventData

    @staticmethod
    def of(envelope: Envelope, data: EventData) -> Fact:
        return Fact(
            id=envelope.id,
            name=type(data).__name__,
            at=envelope.time,
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id,
            data=data,
        )

    @property
    def rank(self) -> tuple[datetime, str]:
        """Order of facts: by time, ties by id."""
        return self.at, self.id

    @property
    def model(self) -> str | None:
        """The model this is about, if it says one."""
        name: str | None = getattr(self.data, "model", None)
        return name


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """One event-day of one version, as monitoring closed it."""

    model: str
    version: int
    day: date
    predictions: int
    labelled: int
    auc: float | None
    log_loss: float | None


class ReadModel:
    """Everything folded so far. Any interleaving of the same events gives the same state."""

    def __init__(
        self, *, keep_facts: int = 2_000, keep_days: int = 2_000, keep_states: int = 20_000
    ) -> None:
        self._facts: defaultdict[str, Newest[Fact]] = defaultdict(lambda: Newest(keep_facts))
        self._days: defaultdict[str, Newest[Day]] = defaultdict(lambda: Newest(keep_days))
        self._raised: Newest[Fact] = Newest(keep_facts)
        self._resolved: Newest[Fact] = Newest(keep_facts)
        self._states: defaultdict[str, Newest[Fact | None]] = defaultdict(
            lambda: Newest(keep_states)
        )
        self._labelled: Newest[DatasetVersionCreated] = Newest(keep_facts)
        self._models: set[str] = set()

    def fold(self, fact: Fact) -> bool:
        """Take in one fact; whether anything changed."""
        changed = self._fold_state(fact)
        if fact.name in LOOP_EVENTS:
            changed = self._facts[fact.name].put(fact.id, fact.rank, fact) or changed
        if fact.model:
            self._models.add(fact.model)
        return changed

    def forget(self, name: str, key: str, *, at: datetime) -> bool:
        """Take in that a state is gone; whether anything changed."""
        return self._states[name].put(_model_and_alias(key), (at, ""), None)

    def _fold_state(self, fact: Fact) -> bool:
        data = fact.data
        changed = False
        match data:
            case MonitoredDayClosed():
                changed = self._fold_day(fact, data)
            case AlertRaised():
                changed = self._raised.put(data.alert_id, fact.rank, fact)
            case AlertResolved():
                changed = self._resolved.put(data.alert_id, fact.rank, fact)
            case ModelAliasState() | DeploymentState():
                key = _model_and_alias(contract_of(data).key(data))
                changed = self._states[fact.name].put(key, fact.rank, fact)
            case DatasetVersionCreated(origin="labelled", model=str(model)):
                changed = self._labelled.put(model, (data.version, data.digest), data)
            case _:
                pass
        return changed

    def _fold_day(self, fact: Fact, data: MonitoredDayClosed) -> bool:
        day = Day(
            model=data.model,
            version=data.version,
            day=date.fromisoformat(data.day),
            predictions=data.predictions,
            labelled=data.labelled,
            auc=data.auc,
            log_loss=data.log_loss,
        )
        key = f"{data.day}/{data.version}"
        return self._days[data.model].put(key, (data.day, data.version, *fact.rank), day)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models heard of, those with a champion first."""
        return tuple(sorted(self._models, key=lambda name: (self.promoted(name) is None, name)))

    def facts(self, *names: str) -> Iterator[Fact]:
        """Facts of these event names (all of the loop when none is given), unordered."""
        for name in names or tuple(self._facts):
            if name in self._facts:
                yield from self._facts[name]

    def days(self, model: str) -> tuple[Day, ...]:
        """Closed days of a model, by day and version."""
        return tuple(self._days[model]) if model in self._days else ()

    def alerts(self, model: str) -> Iterator[tuple[Fact, Fact | None]]:
        """Raised alerts of a model with their resolution, oldest first."""
        for raised in self._raised:
            data = raised.data
            if isinstance(data, AlertRaised) and data.model == model:
                yield raised, self._resolved.get(data.alert_id)

    def promoted(self, model: str) -> ModelAliasState | None:
        """The champion by the registry's word."""
        state = self._state(ModelAliasState.__name__, model)
        return state if isinstance(state, ModelAliasState) else None

    def deployed(self, model: str) -> DeploymentState | None:
        """The champion that serving answers with."""
        state = self._state(DeploymentState.__name__, model)
        return state if isinstance(state, DeploymentState) else None

    def _state(self, name: str, model: str) -> EventData | None:
        fact = self._states[name].get(f"{model}/{CHAMPION}")
        return fact.data if fact else None

    def labelled(self, model: str) -> DatasetVersionCreated | None:
        """The newest labelled dataset version of a model."""
        return self._labelled.get(model)


def _model_and_alias(key: str) -> str:
    """The record key of a state without its project: neither model nor alias holds a slash."""
    return "/".join(key.rsplit("/", 2)[1:])
