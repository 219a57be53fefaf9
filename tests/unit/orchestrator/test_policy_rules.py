"""The retrain policy's decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.orchestrator.domain.policy import (
    Alarm,
    DatasetState,
    Epoch,
    EpochOutcome,
    ModelView,
    Phase,
    Policy,
    decide,
    outcome_of_promotion,
    outcome_of_run,
)

MARCH = datetime(2013, 3, 1, tzinfo=UTC)
POLICY = Policy(pipeline="flights", parameters={}, cooldown_days=28, enabled=True)
ALARM = Alarm(
    model="late",
    version=1,
    drift_epoch="late-1-data-1",
    detected_at=MARCH,
    dataset="late-labelled",
    labelled_through=MARCH,
)
COVERED = DatasetState(version=7, labelled_through=MARCH)
VIEW = ModelView(policy=POLICY, champion=1, champions=frozenset({1}), dataset=COVERED)


def test_an_alarm_whose_data_is_there_starts_at_once() -> None:
    decision = decide(ALARM, VIEW)
    assert (decision.outcome, decision.dataset_version) == ("started", 7)


@pytest.mark.parametrize(
    "dataset",
    [
        None,
        DatasetState(version=1, labelled_through=None),
        DatasetState(version=1, labelled_through=MARCH - timedelta(microseconds=1)),
    ],
)
def test_an_alarm_waits_for_its_data(dataset: DatasetState | None) -> None:
    decision = decide(ALARM, replace(VIEW, dataset=dataset))
    assert decision.outcome == "awaiting_data"
    assert decision.reason == "late-labelled does not yet hold labels through 2013-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (replace(VIEW, policy=None), "no policy: this model has no retrain policy"),
        (
            replace(VIEW, policy=replace(POLICY, enabled=False)),
            "disabled: the retrain policy of this model is switched off",
        ),
        (
            replace(VIEW, champion=2, champions=frozenset({1, 2})),
            "version 1 is no longer champion, version 2 has taken its place",
        ),
        (
            replace(
                VIEW,
                open_epoch=Epoch(
                    drift_epoch="earlier",
                    version=1,
                    phase=Phase.AWAITING_DATA,
                    labelled_through=MARCH,
                ),
            ),
            "epoch open: earlier is awaiting data",
        ),
        (
            replace(VIEW, last_retrained_at=MARCH - timedelta(days=27)),
            (
                "cooldown until 2013-03-02T00:00:00Z:"
                " last retrained by the alarm of 2013-02-02T00:00:00Z"
            ),
        ),
    ],
)
def test_an_obstacle_suppresses_and_is_named(view: ModelView, reason: str) -> None:
    decision = decide(ALARM, view)
    assert (decision.outcome, decision.reason) == ("suppressed", reason)


def test_a_cooldown_ends_on_its_day_in_event_time() -> None:
    assert decide(ALARM, replace(VIEW, last_retrained_at=MARCH - timedelta(days=28))).outcome == (
        "started"
    )


def test_a_version_that_was_never_heard_of_as_champion_may_be_the_newest() -> None:
    view = replace(VIEW, champion=1, champions=frozenset({1}))
    assert decide(replace(ALARM, version=2), view).outcome == "started"


def test_a_rolled_back_champion_may_drift_again() -> None:
    view = replace(VIEW, champion=1, champions=frozenset({1, 2}))
    assert decide(ALARM, view).outcome == "started"
    assert decide(replace(ALARM, version=2), view).outcome == "suppressed"


RUNNING = Epoch(drift_epoch="e", version=3, phase=Phase.RUNNING, labelled_through=MARCH)


@pytest.mark.parametrize(
    ("phase", "version", "cause", "outcome"),
    [
        (Phase.RUNNING, 4, "promotion", EpochOutcome.PROMOTED),
        (Phase.RUNNING, 3, "promotion", None),
        (Phase.RUNNING, 2, "promotion", None),
        (Phase.RUNNING, 2, "rollback", None),
        (Phase.AWAITING_DATA, 4, "promotion", EpochOutcome.SUPERSEDED),
        (Phase.AWAITING_DATA, 2, "rollback", EpochOutcome.SUPERSEDED),
        (Phase.AWAITING_DATA, 3, "promotion", None),
        (Phase.CLOSED, 4, "promotion", None),
    ],
)
def test_a_new_champion_ends_what_it_answers(
    phase: Phase, version: int, cause: str, outcome: EpochOutcome | None
) -> None:
    epoch = replace(RUNNING, phase=phase)
    assert outcome_of_promotion(epoch, version=version, cause=cause) is outcome


@pytest.mark.parametrize(
    ("state", "promotions", "outcome"),
    [
        ("failed", [], EpochOutcome.FAILED),
        ("cancelled", ["approved"], EpochOutcome.FAILED),
        ("succeeded", [], EpochOutcome.NO_PROMOTION),
        ("succeeded", ["rejected"], EpochOutcome.REJECTED),
        ("succeeded", ["waiting"], None),
        ("succeeded", ["approved"], None),
    ],
)
def test_the_end_of_a_run_closes_unless_a_decision_is_still_to_come(
    state: str, promotions: list[str], outcome: EpochOutcome | None
) -> None:
    assert outcome_of_run(state, promotions) is outcome
