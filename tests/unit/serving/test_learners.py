"""Labels in their turn: which are learned, which are waited for, and when a snapshot is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headrace.learning import Plan, State, Tensor
from services.serving.domain.learners import Learner, LearnerSettings, Waiting, walk

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAN = Plan(kind="logistic_regression", features=("a",))


def _learner(*, every_labels: int = 10, every_seconds: float | None = None) -> Learner:
    settings = LearnerSettings(
        publish_as="m", every_labels=every_labels, every_seconds=every_seconds, wait_seconds=5
    )
    made = Learner.fresh(
        project="p", name="l", model="m", plan=PLAN, settings=settings, author="ada", now=NOON
    )
    return replace(made, inputs=[Tensor(name="a", datatype="FP64", shape=(-1, 1))])


def _label(place: int, *, known: bool = True, label: float = 1.0, identity: str = "") -> Waiting:
    return Waiting(
        place=place,
        prediction_id=identity or f"r{place}",
        label=label,
        partition=3,
        offset=100 + place,
        seen_at=NOON,
        features=bytes(8) if known else None,
    )


def _learned(learner: Learner, count: int) -> Learner:
    state = State.fresh(PLAN).model_copy(update={"learned": count})
    return replace(learner, state=state)


def test_labels_are_learned_in_their_turn_up_to_the_next_snapshot() -> None:
    walked = walk(_learner(every_labels=3), [_label(n) for n in range(5)], read_until=NOON)
    assert [each.place for each in walked.learned] == [0, 1, 2]
    assert (walked.looked_at, walked.positions) == (3, {3: 102})


def test_one_that_lacks_its_prediction_holds_up_those_behind_it() -> None:
    waiting = [_label(0), _label(1, known=False), _label(2)]
    walked = walk(_learner(), waiting, read_until=NOON + timedelta(seconds=4))
    assert [each.place for each in walked.learned] == [0]
    assert walked.blocked_until == NOON + timedelta(seconds=5)


def test_it_is_passed_over_once_the_log_was_read_past_its_time() -> None:
    waiting = [_label(0), _label(1, known=False), _label(2)]
    walked = walk(_learner(), waiting, read_until=NOON + timedelta(seconds=5))
    assert [each.place for each in walked.learned] == [0, 2]
    assert (walked.counts.unjoined, walked.blocked_until) == (1, None)


def test_only_so_many_may_wait() -> None:
    waiting = [_label(place, known=False) for place in range(4)]
    walked = walk(_learner(), waiting, read_until=NOON, surplus=3)
    assert (walked.looked_at, walked.counts.unjoined) == (3, 3)


def test_a_prediction_counts_once_also_within_one_walk() -> None:
    waiting = [_label(0, identity="r"), _label(1, identity="r"), replace(_label(2), used=True)]
    walked = walk(_learner(), waiting, read_until=NOON)
    assert [each.place for each in walked.learned] == [0]
    assert walked.counts.repeated == 2


def test_a_class_is_0_or_1() -> None:
    walked = walk(_learner(), [_label(0, label=0.5), _label(1, label=0.0)], read_until=NOON)
    assert [each.place for each in walked.learned] == [1]
    assert walked.counts.unusable == 1


@pytest.mark.parametrize(
    ("learned", "seconds", "due"), [(0, 99, False), (9, 1, False), (10, 1, True), (1, 60, True)]
)
def test_a_snapshot_is_due_after_so_many_labels_or_so_long(
    learned: int, seconds: int, due: bool
) -> None:
    learner = _learned(_learner(every_seconds=60), learned)
    assert learner.is_due(NOON + timedelta(seconds=seconds)) is due
