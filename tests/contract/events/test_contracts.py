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

    Learners take features from the prediction log, and only a label that somebody else sent makes
    them learn: record 20.
