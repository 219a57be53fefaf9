from __future__ import annotations

import random
from collections import defaultdict
from datetime import date
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events import by_type
from services.console.charts import accuracy_curves
from services.console.domain.alerts import AlertView, alert_views
from services.console.domain.facts import Fact, ReadModel
from services.console.domain.order import causal
from services.console.domain.runs import RunView, runs
from services.console.domain.turns import Turn, turns
from tests.harness.recorded import Recorded, recorded_year

MODELS = ("flights", "flights-static")


@cache
def year() -> list[Recorded]:
    return recorded_year(last=date(2013, 5, 15))


def read_model(events: list[Recorded], keep: int = 2_000) -> ReadModel:
    model = ReadModel(keep_facts=keep)
    for event in events:
        model.fold(Fact.of(event.envelope, event.data))
    return model


def view(
    model: ReadModel,
) -> list[tuple[tuple[Turn, ...], tuple[AlertView, ...], tuple[RunView, ...], object]]:
    return [
        (
            turns(model.facts(), name),
            alert_views(
                model.alerts(name),
                model.facts("RetrainDecided"),
                model.facts("DriftDetected"),
                model=name,
            ),
            runs(model.facts()),
            (
                model.promoted(name),
                model.deployed(name),
                model.labelled(name),
                accuracy_curves(model, name),
            ),
        )
        for name in MODELS
    ]


def interleaved(events: list[Recorded], order: random.Random) -> list[Recorded]:
    """Order kept inside each (topic, key), topics and keys interleaved in any way."""
    lanes: defaultdict[tuple[str, str], list[Recorded]] = defaultdict(list)
    for event in events:
        contract = by_type()[event.envelope.type]
        lanes[contract.topic.name, contract.key(event.data)].append(event)
    left = [list(reversed(lane)) for lane in lanes.values()]
    merged = []
    while left:
        lane = order.choice(left)
        merged.append(lane.pop())
        left = [own for own in left if own]
    return merged


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_partitions_may_interleave_in_any_way(seed: int) -> None:
    expected = view(read_model(year()))

    assert view(read_model(interleaved(year(), random.Random(seed)))) == expected


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), keep=st.integers(3, 60))
def test_bounded_memory_holds_the_same_whatever_the_order(seed: int, keep: int) -> None:
    shuffled = list(year())
    random.Random(seed).shuffle(shuffled)

    assert view(read_model(shuffled, keep)) == view(read_model(year(), keep))


def test_events_that_come_twice_change_nothing() -> None:
    once = read_model(year())
    twice = read_model([*year(), *year()])

    assert view(twice) == view(once)
    assert not once.fold(Fact.of(year()[0].envelope, year()[0].data))


def test_memory_is_bounded_by_what_is_kept() -> None:
    model = read_model(year(), keep=10)

    assert len(list(model.facts("StepChanged"))) == 10


def test_no_event_is_told_before_its_cause_even_when_clocks_differ() -> None:
    model = read_model(year())
    turn = turns(model.facts(), "flights")[0]
    earlier = turn.facts[0].at.replace(year=2000)
    skewed = [
        Fact(
            id=fact.id,
            name=fact.name,
            at=earlier if fact.name == "FirstAnswerServed" else fact.at,
            correlation_id=fact.correlation_id,
            causation_id=fact.causation_id,
            data=fact.data,
        )
        for fact in turn.facts
    ]

    ordered = [fact.id for fact in causal(skewed)]

    for fact in skewed:
        if fact.causation_id in ordered:
            assert ordered.index(str(fact.causation_id)) < ordered.index(fact.id)
    assert sorted(ordered) == sorted(fact.id for fact in skewed)


def test_causes_in_a_circle_are_still_told_once() -> None:
    first, second = (Fact.of(event.envelope, event.data) for event in year()[:2])
    circle = [
        Fact(
            id=own.id,
            name=own.name,
            at=own.at,
            correlation_id="c",
            causation_id=other.id,
            data=own.data,
        )
        for own, other in ((first, second), (second, first))
    ]

    assert {fact.id for fact in causal(circle)} == {first.id, second.id}
