"""Whatever comes in whatever order: one open epoch a model, no storm, nothing looks ahead."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as some

from services.orchestrator.domain.policy import (
    Alarm,
    DatasetState,
    Decision,
    Epoch,
    ModelView,
    Phase,
    Policy,
    covers,
    decide,
    outcome_of_promotion,
    outcome_of_run,
)

BEGIN = datetime(2013, 1, 1, tzinfo=UTC)
COOLDOWN = 28.0


def day(number: int) -> datetime:
    return BEGIN + timedelta(days=number)


@dataclass
class World:
    """One model as the orchestrator's store would keep it, driven by the pure rules."""

    view: ModelView = field(
        default_factory=lambda: ModelView(
            policy=Policy(pipeline="p", parameters={}, cooldown_days=COOLDOWN, enabled=True),
            champion=1,
            champions=frozenset({1}),
        )
    )
    started: list[tuple[datetime, datetime, DatasetState]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    pending_alarm: datetime | None = None

    def alarm(self, number: int) -> None:
        version = self.view.champion or 1
        alarm = Alarm(
            model="m",
            version=version,
            drift_epoch=f"e{number}",
            detected_at=day(number),
            dataset="d",
            labelled_through=day(number),
        )
        decision = decide(alarm, self.view)
        self.decisions.append(decision)
        if decision.outcome == "suppressed":
            return
        assert self.view.open_epoch is None
        running = decision.outcome == "started"
        phase = Phase.RUNNING if running else Phase.AWAITING_DATA
        opened = Epoch(
            drift_epoch=alarm.drift_epoch,
            version=version,
            phase=phase,
            labelled_through=alarm.labelled_through,
        )
        self.pending_alarm = alarm.detected_at
        self.view = replace(self.view, open_epoch=opened)
        if running:
            self._start()

    def data(self, number: int) -> None:
        known = self.view.dataset
        version = known.version + 1 if known else 1
        through = max(day(number), known.labelled_through or BEGIN) if known else day(number)
        state = DatasetState(version=version, labelled_through=through)
        self.view = replace(self.view, dataset=state)
        opened = self.view.open_epoch
        if (
            opened
            and opened.phase is Phase.AWAITING_DATA
            and covers(state, opened.labelled_through)
        ):
            self.view = replace(self.view, open_epoch=replace(opened, phase=Phase.RUNNING))
            self._start()

    def promoted(self, cause: str) -> None:
        champion = self.view.champion or 1
        version = champion + 1 if cause == "promotion" else max(1, champion - 1)
        self.view = replace(self.view, champion=version, champions=self.view.champions | {version})
        opened = self.view.open_epoch
        if opened and outcome_of_promotion(opened, version=version, cause=cause):
            self.view = replace(self.view, open_epoch=None)

    def run_ended(self, state: str, promotions: list[str]) -> None:
        opened = self.view.open_epoch
        if opened is None or opened.phase is not Phase.RUNNING:
            return
        if outcome_of_run(state, promotions):
            if state != "succeeded":
                self.view = replace(self.view, last_retrained_at=self._before_last())
                self.started.pop()
            self.view = replace(self.view, open_epoch=None)

    def _start(self) -> None:
        assert self.pending_alarm is not None
        assert self.view.dataset is not None
        assert self.view.open_epoch is not None
        entry = (self.pending_alarm, self.view.open_epoch.labelled_through, self.view.dataset)
        self.started.append(entry)
        latest = max(alarm for alarm, _, _ in self.started)
        self.view = replace(self.view, last_retrained_at=latest)

    def _before_last(self) -> datetime | None:
        return max((alarm for alarm, _, _ in self.started[:-1]), default=None)


OPERATIONS = some.lists(
    some.one_of(
        some.tuples(some.just("alarm"), some.integers(0, 365)),
        some.tuples(some.just("data"), some.integers(0, 365)),
        some.tuples(some.just("promoted"), some.sampled_from(["promotion", "rollback"])),
        some.tuples(
            some.just("run_ended"),
            some.tuples(
                some.sampled_from(["succeeded", "failed"]),
                some.lists(some.sampled_from(["approved", "waiting", "rejected"]), max_size=2),
            ),
        ),
    ),
    max_size=60,
)


def play(operations: list[tuple[str, object]]) -> World:
    world = World()
    for name, argument in operations:
        method = getattr(world, name)
        method(*argument) if name == "run_ended" else method(argument)  # type: ignore[misc]
    return world


@settings(max_examples=300)
@given(OPERATIONS)
def test_retrainings_keep_the_cooldown_in_event_time(operations: list[tuple[str, object]]) -> None:
    world = play(operations)
    for (earlier, _, _), (later, _, _) in zip(world.started, world.started[1:], strict=False):
        assert later - earlier >= timedelta(days=COOLDOWN)


@settings(max_examples=300)
@given(OPERATIONS)
def test_a_run_starts_only_on_data_that_covers_its_alarm(
    operations: list[tuple[str, object]],
) -> None:
    for _, needed, dataset in play(operations).started:
        assert covers(dataset, needed)


@settings(max_examples=300)
@given(OPERATIONS)
def test_every_alarm_gets_one_decision_with_a_reason(operations: list[tuple[str, object]]) -> None:
    world = play(operations)
    assert len(world.decisions) == sum(name == "alarm" for name, _ in operations)
    assert all(decision.reason for decision in world.decisions)
