"""The AsyncAPI document is valid and says what is on the wire."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from jsonschema import Draft7Validator

from headrace.errors import UndecodableEvent
from headrace.events import CONTRACTS, encode_headers
from headrace.events.asyncapi import document
from headrace.events.examples import example, example_envelope
from headrace.events.headers import DEAD_LETTER_HEADERS, EVENT_HEADERS
from headrace.events.topics import GROUPS, VIEWS, all_topics
from headrace.runtime.bus.deadletter import Burial

CHECKOUT = Path(__file__).parents[3]
OFFICIAL = CHECKOUT / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"


@cache
def official() -> dict[str, Any]:
    """The JSON Schema that the AsyncAPI initiative publishes."""
    if not OFFICIAL.exists() and "CI" not in os.environ:
        pytest.skip("node_modules is missing: run `make setup` where npm packages can be had")
    schema: dict[str, Any] = json.loads(OFFICIAL.read_text())
    return schema


def messages(address: str) -> list[dict[str, Any]]:
    """Messages of a channel, references followed."""
    (channel,) = [each for each in document()["channels"].values() if each["address"] == address]
    names = [each["$ref"].rsplit("/", 1)[1] for each in channel["messages"].values()]
    return [document()["components"]["messages"][name] for name in names]


def test_the_document_is_valid_by_the_official_schema() -> None:
    faults = [
        f"{fault.json_path}: {fault.message[:200]}"
        for fault in Draft7Validator(official()).iter_errors(document())
    ]

    assert faults == []


def test_the_official_schema_refuses_a_broken_document() -> None:
    broken = {**document(), "channels": {"x": {"address": 1}}}

    assert list(Draft7Validator(official()).iter_errors(broken))


def test_every_topic_is_a_channel_whose_messages_name_their_type() -> None:
    for topic in all_topics():
        found = messages(topic.name)
        assert found
        for message in found:
            assert message["headers"]["properties"]["ce_type"] == {"const": message["name"]}


def test_dead_letters_carry_the_types_of_their_topic_and_the_reason() -> None:
    for group, topics in GROUPS.items():
        for topic in topics:
            here = {message["name"] for message in messages(f"{group}.{topic.name}.dlt")}
            there = {message["name"] for message in messages(topic.name)}
            assert here - there == {"headrace.bus.Undecodable.v1"}
            for message in messages(f"{group}.{topic.name}.dlt"):
                assert {"$ref": "#/components/schemas/DeadLetterHeaders"} in (
                    message["headers"]["allOf"]
                )


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_headers_on_the_wire_are_those_of_the_document(contract: Any) -> None:
    headers = {name: raw.decode() for name, raw in encode_headers(example_envelope(contract))}
    schemas = document()["components"]["schemas"]

    assert set(headers) == {header.name for header in EVENT_HEADERS}
    assert list(Draft7Validator(schemas["EventHeaders"]).iter_errors(headers)) == []


def test_a_dead_letter_has_the_headers_of_the_document() -> None:
    contract = CONTRACTS[0]
    record = ConsumerRecord(
        topic=contract.topic.name,
        partition=0,
        offset=1,
        timestamp=0,
        timestamp_type=0,
        key=b"k",
        value=contract.encode(example(contract)),
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=1,
        headers=tuple(encode_headers(example_envelope(contract))),
    )

    now = datetime.now(UTC)
    letter = Burial(record=record, error=UndecodableEvent("why"), attempts=1, at=now).letter("g")
    reasons = {name: text for name, text in letter.headers.items() if name.startswith("dlt_")}

    assert set(reasons) == {header.name for header in DEAD_LETTER_HEADERS}


def test_the_document_names_every_message_and_every_reader() -> None:
    operations = document()["operations"]
    text = json.dumps(document())

    assert all(contract.type in text for contract in CONTRACTS)
    assert all(group in text for group in GROUPS)
    assert all(
        f"view-{service}-{topic.name.replace('.', '-')}" in operations
        for service, topics in VIEWS.items()
        for topic in topics
    )
