"""Contracts only grow, and the generated documents are what the code says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.events import CONTRACTS, by_type
from headrace.events.asyncapi import document
from headrace.events.compatibility import breaks, check, drift
from headrace.events.topics import GROUPS, TOPICS, all_topics

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def changed(**properties: Any) -> dict[str, Any]:
    return {**OBJECT, "properties": {**properties}}


def test_no_contract_breaks_its_frozen_schema() -> None:
    assert check() == []


def test_frozen_schemas_and_asyncapi_are_what_the_code_says() -> None:
    assert drift() == [], "run `make docs`"


@pytest.mark.parametrize(
    ("new", "faults"),
    [
        (OBJECT, 0),
        (changed(a={"type": "string"}, b={"type": "integer"}), 0),
        ({**changed(a={"type": "string"}, b={"type": "integer"}), "required": ["a", "b"]}, 1),
        ({"type": "object", "properties": {}}, 1),
        (changed(a={"type": "integer"}), 2),
    ],
    ids=["same", "optional added", "required added", "required dropped", "retyped"],
)
def test_the_gate_lets_only_growth_pass(new: dict[str, Any], faults: int) -> None:
    assert len(breaks(OBJECT, new)) == faults


def test_every_type_is_unique_and_lives_on_a_declared_topic() -> None:
    assert len(by_type()) == len(CONTRACTS)
    assert all(contract.topic in TOPICS for contract in CONTRACTS)


def test_no_service_reads_a_topic_that_only_it_writes() -> None:
    for group, topics in GROUPS.items():
        service = group.split(".")[0]
        for topic in topics:
            foreign = not topic.name.startswith(f"{service}.")
            asked = ".intake." in topic.name or ".commands." in topic.name
            assert foreign or asked, f"{group} reads its own {topic.name}"


def test_topic_names_are_lower_case_dots_and_hyphens() -> None:
    assert all(topic.name == topic.name.lower() and "_" not in topic.name for topic in all_topics())


def test_asyncapi_names_every_message_and_every_group() -> None:
    text = json.dumps(document())

    assert all(contract.type in text for contract in CONTRACTS)
    assert all(group in text for group in GROUPS)
