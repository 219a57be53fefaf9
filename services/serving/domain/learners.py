"""Models that learn in the stream: what they are told, how far they are, what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Self

from headrace.learning import Plan, State, Tensor

Source = Literal["predictions", "labels"]
"""Where features come from: the prediction log, or the label events themselves."""
Positions = Mapping[int, int]
"""The last label that was looked at, by partition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnerSettings:
    """How a learner works; another value, but of `features_from`, keeps what it learned.

    A snapshot is made after `every_labels` more examples, or once `every_seconds` have passed and
    there are any. A label waits `wait_seconds` for its prediction. Of predictions at most about
    `max_predictions` are kept, none longer than `keep_hours`; of labels `max_labels` may wait.
    """

    publish_as: str
    features_from: Source = "predictions"
    every_labels: int = 1000
    every_seconds: float | None = None
    wait_seconds: float = 10.0
    max_predictions: int = 200_000
    max_labels: int = 100_000
    keep_hours: float = 48.0
    request_promotion: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What became of labels, and of predictions that no label came for.

    `repeated` labels are of predictions that were learned from before, `unjoined` ones of
    predictions that were not logged or are no longer kept, `unusable` are labels that are none
    and predictions that lack a feature, `expired` predictions were dropped unlabelled.
    """

    repeated: int = 0
    unjoined: int = 0
    unusable: int = 0
    expired: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Learner:
    """All that is known of a learner."""

    project: str
    name: str
    model: str
    plan: Plan
    settings: LearnerSettings
    author: str
    configured_at: datetime
    generation: int
    state: State
    positions: Positions
    snapshot_state: State
    snapshot_positions: Positions
    snapshot_at: datetime
    inputs: Sequence[Tensor] | None = None
    counts: Counts = field(default_factory=Counts)
    failure: str | None = None
    trouble: str | None = None
    snapshots: int = 0

    @classmethod
    def fresh(
        cls,
        *,
        project: str,
        name: str,
        model: str,
        plan: Plan,
        settings: LearnerSettings,
        author: str,
        now: datetime,
        generation: int = 1,
    ) -> Self:
        """Before it learned anything."""
        state = State.fresh(plan)
        return cls(
            project=project,
            name=name,
            model=model,
            plan=plan,
            settings=settings,
            author=author,
            configured_at=now,
            generation=generation,
            state=state,
            positions={},
            snapshot_state=state,
            snapshot_positions={},
            snapshot_at=now,
        )

    def goes_on_as(self, other: Learner) -> bool:
        """Whether what it learned is what the other is told to learn."""
        same_source = self.settings.features_from == other.settings.features_from
        same = (self.model, self.plan) == (other.model, other.plan)
        return same and same_source and self.failure is None

    @property
    def unpublished(self) -> int:
        """Examples since the last snapshot."""
        return self.state.learned - self.snapshot_state.learned

    @property
    def room(self) -> int:
        """Examples until the next snapshot is due."""
        return self.settings.every_labels - self.unpublished

    def is_due(self, now: datetime) -> bool:
        """Whether a snapshot is to be made now."""
        if not self.unpublished or self.inputs is None:
            return False
        seconds = self.settings.every_seconds
        late = seconds is not None and now - self.snapshot_at >= timedelta(seconds=seconds)
        return late or self.room <= 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A state of a learner as it is published; `version` once the registry has it."""

    project: str
    learner: str
    generation: int
    number: int
    model: str
    publish_as: str
    features_from: Source
    request_promotion: bool
    plan: Plan
    inputs: Sequence[Tensor]
    start: State
    state: State
    positions_before: Positions
    positions: Positions
    created_at: datetime

    @classmethod
    def of(cls, learner: Learner, now: datetime) -> Self:
        """The next one. Raises ValueError while no prediction told of the inputs."""
        if learner.inputs is None:
            raise ValueError(f"learner {learner.name!r} knows no inputs")
        return cls(
            project=learner.project,
            learner=learner.name,
            generation=learner.generation,
            number=learner.snapshots + 1,
            model=learner.model,
            publish_as=learner.settings.publish_as,
            features_from=learner.settings.features_from,
            request_promotion=learner.settings.request_promotion,
            plan=learner.plan,
            inputs=learner.inputs,
            start=learner.snapshot_state,
            state=learner.state,
            positions_before=learner.snapshot_positions,
            positions=learner.positions,
            created_at=now,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A label in its turn, and its prediction if that is known; `features` in the plan's order."""

    place: int
    prediction_id: str
    label: float
    partition: int
    offset: int
    seen_at: datetime
    features: bytes | None = None
    log_partition: int = -1
    log_offset: int = -1
    used: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What is to be done with the labels that wait, in their order.

    The first `looked_at` are settled, `learned` are those to learn from. `blocked_until` is when
    the next one need not be waited for any longer.
    """

    looked_at: int
    learned: Sequence[Waiting]
    counts: Counts
    positions: Positions
    blocked_until: datetime | None = None


def walk(
    learner: Learner, waiting: Sequence[Waiting], *, read_until: datetime, surplus: int = 0
) -> Walk:
    """Go through the labels up to the next snapshot, or to one that must still be waited for.

    All predictions that were logged before `read_until` are known. So many labels as `surplus`
    says are not waited for, since too many wait behind them.
    """
    wait = timedelta(seconds=learner.settings.wait_seconds)
    counts, positions = learner.counts, dict(learner.positions)
    learned: dict[str, Waiting] = {}
    looked_at, blocked_until = 0, None
    for each in waiting:
        if len(learned) >= learner.room:
            break
        if each.used or each.prediction_id in learned:
            counts = replace(counts, repeated=counts.repeated + 1)
        elif each.features is None:
            if each.seen_at + wait > read_until and looked_at >= surplus:
                blocked_until = each.seen_at + wait
                break
            counts = replace(counts, unjoined=counts.unjoined + 1)
        elif learner.plan.classifies and each.label not in {0.0, 1.0}:
            counts = replace(counts, unusable=counts.unusable + 1)
        else:
            learned[each.prediction_id] = each
        looked_at += 1
        positions[each.partition] = each.offset
    return Walk(
        looked_at=looked_at,
        learned=list(learned.values()),
        counts=counts,
        positions=positions,
        blocked_until=blocked_until,
    )
