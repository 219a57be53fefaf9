"""Contracts only grow, and the generated documents are what the code says."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.events import CONTRACTS, by_type
from headrace.events.compatibility import breaks, check, drift
from headrace.events.topics import GROUPS, REGISTRY_ALIASES, TOPICS, VIEWS, all_topics

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def changed(**properties: Any) -> dict[str, Any]:
    return {**OBJECT, "properties": {**properties}}


def test_no_contract_breaks_its_frozen_schema() -> None:
    assert check() == []


def test_frozen_schemas_and_asyncapi_are_what_the_code_says() -> None:
    assert drift() == [], "run `make docs`"


BACKWARD = "new readers cannot read old events"
FORWARD = "old readers cannot read new events"
FEW = {"enum": ["one", "two"]}
MANY = {"enum": ["one", "two", "three"]}
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
NESTED = {"$defs": {"Part": OBJECT}, **changed(a=TEXT, parts={"$ref": "#/$defs/Part"})}


def nested(part: dict[str, Any]) -> dict[str, Any]:
    return {**NESTED, "$defs": {"Part": part}}


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        (OBJECT, OBJECT, []),
        (OBJECT, changed(a=TEXT, b=NUMBER), []),
        (OBJECT, {**changed(a=TEXT, b=NUMBER), "required": ["a", "b"]}, [BACKWARD]),
        (OBJECT, {"type": "object", "properties": {}}, [FORWARD]),
        (OBJECT, {**OBJECT, "required": []}, [FORWARD]),
        (changed(a=FEW), changed(a=MANY), [FORWARD]),
        (changed(a=MANY), changed(a=FEW), [BACKWARD]),
        (OBJECT, changed(a=NUMBER), [BACKWARD, FORWARD]),
        (NESTED, nested(changed(a=TEXT, b=NUMBER)), []),
        (NESTED, nested(changed(a=NUMBER)), [BACKWARD, FORWARD]),
    ],
    ids=[
        "same",
        "optional added",
        "required added",
        "required dropped",
        "required made optional",
        "enum widened",
        "enum narrowed",
        "retyped",
        "optional added inside a part",
        "retyped inside a part",
    ],
)
def test_the_gate_lets_only_growth_pass(
    old: dict[str, Any], new: dict[str, Any], faults: list[str]
) -> None:
    assert breaks(old, new) == faults


def test_every_type_is_unique_and_lives_on_a_declared_topic() -> None:
    assert len(by_type()) == len(CONTRACTS)
    assert all(contract.topic in TOPICS for contract in CONTRACTS)


def test_no_service_reads_a_topic_that_only_it_writes() -> None:
    """Exports leave the platform, so what they read goes round in no circle.

    States of its own are what a service that lost its database finds itself again by. Learners
    take features from the prediction log, but only a label from outside makes them learn: see
    record 20.
    """
    for group, topics in [*GROUPS.items(), *VIEWS.items()]:
        if ".export-" in group or group == "serving.learner":
            continue
        service = group.split(".")[0]
        for topic in topics:
            foreign = not topic.name.startswith(f"{service}.")
            asked = ".intake." in topic.name or ".commands." in topic.name
            recovered = group in VIEWS and topic.compacted
            assert foreign or asked or recovered, f"{group} reads its own {topic.name}"


def test_topic_names_are_lower_case_dots_and_hyphens() -> None:
    assert all(topic.name == topic.name.lower() and "_" not in topic.name for topic in all_topics())


def test_a_compacted_topic_keeps_one_kind_of_state() -> None:
    for topic in TOPICS:
        kinds = [contract for contract in CONTRACTS if contract.topic == topic]
        assert topic.compacted == (".state." in topic.name)
        assert len(kinds) == 1 or not topic.compacted


def test_compacted_topics_forget_no_key_and_are_cleaned_soon() -> None:
    assert REGISTRY_ALIASES.config == {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": "3600000",
        "max.message.bytes": str(8 * 1024 * 1024),
    }
