"""docs/events.md is what the registry says, and leaves nothing out."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.events import CONTRACTS, EventData
from headrace.events.examples import example, example_record
from headrace.events.reference import PAGE, text
from headrace.events.topics import TOPICS


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == text(), "run `make docs`"


def test_every_topic_has_a_section_and_every_event_one_in_it() -> None:
    sections = text().split("\n## ")
    for topic in TOPICS:
        (section,) = [each for each in sections if each.startswith(f"{topic.name}\n")]
        for contract in CONTRACTS:
            assert (f"\n### {contract.name}\n" in section) == (contract.topic == topic)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_every_example_is_readable_and_sets_every_field(contract: Any) -> None:
    data = example(contract)

    assert contract.decode(contract.encode(data)) == data
    assert example_record(contract)["key"] == contract.key(data)
    if isinstance(data, EventData):
        assert set(data.model_dump(exclude_none=True)) == set(contract.model.model_fields)
