"""The checker finds each kind of violation in a history broken by hand, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.history import (
    Attempt,
    Effect,
    Group,
    History,
    Kind,
    OffsetSnapshot,
    Outbox,
    Outcome,
    check,
)


def attempt(
    id_: str, position: int, *, key: str = "k", outcome: Outcome = Outcome.ACKNOWLEDGED
) -> Attempt:
    return Attempt(id=id_, key=key, position=position, outcome=outcome)


def effects(*ids: str, key: str = "k") -> tuple[Effect, ...]:
    return tuple(Effect(id=id_, key=key) for id_ in ids)


GROUP = Group(name="first", effects=effects("a", "b", "c"))
SOUND = History(
    attempts=[attempt("a", 1), attempt("b", 2), attempt("c", 3)],
    groups=[GROUP, Group(name="second", follows="first", effects=effects("a", "b", "c"))],
    outboxes=[
        Outbox(service="s", committed={"a", "b", "c"}, pending=set(), published={"a", "b", "c"})
    ],
    offsets=[
        OffsetSnapshot(group="first", topic="t", partition=0, offset=offset) for offset in (0, 3, 3)
    ],
)


def found(history: History) -> list[tuple[Kind, str]]:
    return [(violation.kind, violation.where) for violation in check(history)]


def with_effects(*ids: str) -> History:
    return replace(SOUND, groups=[replace(GROUP, effects=effects(*ids))])


def test_a_sound_history_has_no_violation() -> None:
    assert check(SOUND) == []


def test_an_acknowledged_attempt_without_effect_is_lost() -> None:
    assert found(with_effects("a", "c")) == [(Kind.LOST, "first")]


def test_what_the_first_hop_effected_and_the_second_did_not_is_lost() -> None:
    second = Group(name="second", follows="first", effects=effects("a", "b"))
    assert found(replace(SOUND, groups=[GROUP, second])) == [(Kind.LOST, "second")]


def test_an_unknown_attempt_that_committed_and_has_no_effect_is_lost() -> None:
    history = replace(
        with_effects("a", "b", "c"),
        attempts=[*SOUND.attempts, attempt("d", 4, outcome=Outcome.UNKNOWN)],
        outboxes=[Outbox(service="s", committed={"d"}, pending=set(), published={"d"})],
    )
    assert found(history) == [(Kind.LOST, "first")]


def test_two_effects_of_one_attempt_are_a_duplicate() -> None:
    assert found(with_effects("a", "b", "b", "c")) == [(Kind.DUPLICATE, "first")]


def test_an_old_effect_that_comes_again_is_a_duplicate_and_no_reordering() -> None:
    assert found(with_effects("a", "b", "c", "a")) == [(Kind.DUPLICATE, "first")]


def test_an_effect_beside_a_dead_letter_is_a_duplicate() -> None:
    both = replace(GROUP, dead_letters={"b"})
    assert found(replace(SOUND, groups=[both])) == [(Kind.DUPLICATE, "first")]


def test_a_later_position_before_an_earlier_one_is_reordered() -> None:
    assert found(with_effects("b", "a", "c")) == [(Kind.REORDERED, "first")]


def test_two_effects_at_one_position_are_reordered() -> None:
    history = replace(
        with_effects("a", "b", "c"), attempts=[attempt("a", 1), attempt("b", 2), attempt("c", 2)]
    )
    assert found(history) == [(Kind.REORDERED, "first")]


def test_an_effect_past_a_parked_record_of_its_key_is_reordered() -> None:
    parked = replace(GROUP, effects=effects("a", "c"), parked={"b"})
    assert found(replace(SOUND, groups=[parked])) == [(Kind.REORDERED, "first")]


def test_order_between_keys_is_free() -> None:
    history = History(
        attempts=[attempt("a", 1), attempt("x", 1, key="other")],
        groups=[Group(name="first", effects=[*effects("x", key="other"), *effects("a")])],
    )
    assert check(history) == []


def test_an_effect_of_a_rolled_back_attempt_is_aborted() -> None:
    history = replace(
        with_effects("a", "b", "c", "d"),
        attempts=[*SOUND.attempts, attempt("d", 4, outcome=Outcome.ROLLED_BACK)],
    )
    assert found(history) == [(Kind.ABORTED, "first")]


def test_an_effect_without_attempt_is_unattempted() -> None:
    assert found(with_effects("a", "b", "c", "ghost")) == [(Kind.UNATTEMPTED, "first")]


def test_an_effect_under_another_key_is_unattempted() -> None:
    stray = replace(GROUP, effects=[*effects("a", "b"), *effects("c", key="other")])
    assert found(replace(SOUND, groups=[stray])) == [(Kind.UNATTEMPTED, "first")]


def test_an_offset_that_falls_went_backwards() -> None:
    offsets = [*SOUND.offsets, OffsetSnapshot(group="first", topic="t", partition=0, offset=2)]
    assert found(replace(SOUND, offsets=offsets)) == [(Kind.BACKWARDS, "first")]


def test_offsets_of_two_partitions_are_not_compared() -> None:
    offsets = [*SOUND.offsets, OffsetSnapshot(group="first", topic="t", partition=1, offset=0)]
    assert check(replace(SOUND, offsets=offsets)) == []


def test_a_committed_row_that_is_nowhere_vanished() -> None:
    gone = Outbox(service="s", committed={"a"}, pending=set(), published=set())
    assert found(replace(SOUND, outboxes=[gone])) == [(Kind.VANISHED, "s")]


def test_a_row_that_stays_in_the_outbox_is_stuck() -> None:
    stuck = Outbox(service="s", committed={"a"}, pending={"a"}, published=set())
    assert found(replace(SOUND, outboxes=[stuck])) == [(Kind.STUCK, "s")]


@pytest.mark.parametrize("ids", [("a", "b", "c"), ("a", "b", "c", "d")])
def test_an_unknown_attempt_may_have_its_effect_or_not(ids: tuple[str, ...]) -> None:
    history = replace(
        with_effects(*ids),
        attempts=[*SOUND.attempts, attempt("d", 4, outcome=Outcome.UNKNOWN)],
    )
    assert check(history) == []


def test_a_dead_letter_stands_in_for_the_effect() -> None:
    buried = replace(GROUP, effects=effects("a", "c"), dead_letters={"b"})
    assert check(replace(SOUND, groups=[buried])) == []


def test_a_parked_record_at_the_end_of_its_key_is_no_violation() -> None:
    waiting = replace(GROUP, effects=effects("a", "b"), parked={"c"})
    assert check(replace(SOUND, groups=[waiting])) == []


def test_evidence_names_key_position_and_id() -> None:
    (violation,) = check(with_effects("a", "c"))
    assert str(violation) == ("lost effect (first): k#2 (b) was acknowledged and has no effect")
    assert violation.ids == ("b",)


def test_two_attempts_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="attempt a is given 2 times"):
        check(replace(SOUND, attempts=[attempt("a", 1), attempt("a", 2)]))


def test_a_group_that_follows_nobody_known_is_refused() -> None:
    orphan = Group(name="second", follows="nobody", effects=())
    with pytest.raises(ValueError, match="second follows nobody"):
        check(replace(SOUND, groups=[orphan]))


OUTCOMES = st.dictionaries(st.integers(0, 200), st.sampled_from(Outcome), min_size=1, max_size=30)


@given(outcomes=OUTCOMES, kept=st.sets(st.integers(0, 200)))
def test_serial_execution_is_sound_whatever_happens_to_the_unknown(
    outcomes: Mapping[int, Outcome], kept: set[int]
) -> None:
    history = _serial(outcomes, kept)
    assert check(history) == []


@given(outcomes=OUTCOMES, data=st.data())
def test_leaving_out_or_doubling_any_acknowledged_effect_is_found(
    outcomes: Mapping[int, Outcome], data: st.DataObject
) -> None:
    history = _serial({**outcomes, 201: Outcome.ACKNOWLEDGED}, set())
    done = history.groups[0].effects
    victim = data.draw(st.sampled_from(done))
    without = replace(GROUP, effects=[effect for effect in done if effect != victim])
    twice = replace(GROUP, effects=[*done, victim])
    assert found(replace(history, groups=[without])) == [(Kind.LOST, "first")]
    assert found(replace(history, groups=[twice])) == [(Kind.DUPLICATE, "first")]


def _serial(outcomes: Mapping[int, Outcome], kept: set[int]) -> History:
    """One key, each attempt effected in turn; of the unknown ones those `kept`."""
    attempts = [
        attempt(str(position), position, outcome=outcomes[position])
        for position in sorted(outcomes)
    ]
    happened = [
        one.id
        for one in attempts
        if one.outcome is Outcome.ACKNOWLEDGED
        or (one.outcome is Outcome.UNKNOWN and one.position in kept)
    ]
    return History(attempts=attempts, groups=[replace(GROUP, effects=effects(*happened))])
