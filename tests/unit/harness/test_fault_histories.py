"""What was found after a round becomes the history that the checker judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiokafka import ConsumerRecord

from tests.faults.findings import Found
from tests.faults.journal import Told
from tests.faults.rounds import foreign_history, own_history
from tests.harness.history import Attempt, Effect, Kind, Outcome, check

OWN, FOLLOW_UPS = "registry.dataset.events.v1", "orchestrator.pipeline-run.events.v1"
DEAD = f"orchestrator.events.{OWN}.dlt"
KEY, FOREIGN = "s1-own-0", "s1-foreign-0"
WRITTEN = [Effect(id=id_, key=KEY) for id_ in ("a", "b")]
TOLD = Told(
    attempts=[
        Attempt(id="a", key=KEY, position=1, outcome=Outcome.ACKNOWLEDGED),
        Attempt(id="b", key=KEY, position=2, outcome=Outcome.UNKNOWN),
        Attempt(id="c", key=KEY, position=3, outcome=Outcome.UNKNOWN),
    ],
    hopeless=frozenset(),
)
FOUND = Found(
    written=WRITTEN,
    first=WRITTEN,
    second=WRITTEN,
    follow_ups=frozenset({"x", "y"}),
    pending_own=frozenset(),
    pending_follow_ups=frozenset(),
)


def record(topic: str, **headers: str) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=0,
        timestamp=0,
        timestamp_type=0,
        key=None,
        value=None,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=[(name, value.encode()) for name, value in headers.items()],
    )


LOG = [
    record(OWN, ce_id="a"),
    record(OWN, ce_id="b"),
    record(FOLLOW_UPS, ce_id="x"),
    record(FOLLOW_UPS, ce_id="y"),
]


def kinds(
    *, found: Found = FOUND, told: Told = TOLD, log: Sequence[ConsumerRecord] = LOG
) -> list[Kind]:
    return [violation.kind for violation in check(own_history(told, found, log, []))]


def test_the_unknown_that_the_database_has_is_required_and_the_other_is_not() -> None:
    assert kinds() == []
    assert kinds(found=replace(FOUND, first=WRITTEN[:1], second=WRITTEN[:1])) == [Kind.LOST]


def test_an_effect_of_what_the_database_does_not_have_is_aborted() -> None:
    ghost = [*WRITTEN, Effect(id="c", key=KEY)]
    assert kinds(found=replace(FOUND, first=ghost, second=WRITTEN)) == [Kind.ABORTED, Kind.LOST]


def test_state_that_was_acknowledged_and_is_gone_is_lost() -> None:
    gone = kinds(found=replace(FOUND, written=WRITTEN[1:]))
    assert gone == [Kind.LOST]


def test_a_dead_letter_on_purpose_stands_in_for_the_effect_once() -> None:
    told = replace(TOLD, hopeless=frozenset({"b"}))
    found = replace(FOUND, first=WRITTEN[:1], second=WRITTEN[:1])
    letter = record(DEAD, ce_id="one", dlt_original_id="b")
    another = record(DEAD, ce_id="two", dlt_original_id="b")
    assert kinds(found=found, told=told, log=[*LOG, letter, letter]) == []
    assert kinds(found=found, told=told, log=[*LOG, letter, another]) == [Kind.DUPLICATE]


def test_a_dead_letter_that_nobody_asked_for_is_a_lost_effect() -> None:
    found = replace(FOUND, first=WRITTEN[:1], second=WRITTEN[:1])
    letter = record(DEAD, ce_id="one", dlt_original_id="b")
    assert kinds(found=found, log=[*LOG, letter]) == [Kind.LOST]


def test_a_row_that_left_the_outbox_and_is_not_in_the_log_vanished() -> None:
    assert kinds(log=LOG[:-1]) == [Kind.VANISHED]


def test_foreign_events_are_judged_by_themselves() -> None:
    attempts = [Attempt(id="f", key=FOREIGN, position=1, outcome=Outcome.ACKNOWLEDGED)]
    effects = [*WRITTEN, Effect(id="f", key=FOREIGN)]
    sound = replace(FOUND, first=effects, second=effects)
    twice = replace(FOUND, first=[*effects, effects[-1]], second=effects)
    assert check(foreign_history(attempts, sound)) == []
    assert [one.kind for one in check(foreign_history(attempts, twice))] == [Kind.DUPLICATE]
