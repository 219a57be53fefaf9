"""`headrace events` against a running platform: what a person does about records in trouble."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from headrace.events.topics import REGISTRY_DATASETS
from tests.system.test_command import answer, headrace
from tests.system.world import World

pytestmark = pytest.mark.timeout(400)

GROUP = "orchestrator.events"
TOPIC = REGISTRY_DATASETS.name


async def _send_garbage(world: World) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=world.stack.backends.kafka)
    await producer.start()
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"g1"), ("ce_source", b"/somebody")]
    await producer.send_and_wait(TOPIC, b"{", key=b"garbage", headers=headers)
    await producer.stop()


async def _letters(world: World) -> list[Any]:
    found = await answer(world, "events", "dead-letters", GROUP, TOPIC)
    return [letter for letter in found if letter["key"] == "garbage"]


async def test_dead_letters_are_listed_with_their_reason_and_redriven_once(world: World) -> None:
    await _send_garbage(world)
    for _ in range(60):
        if letters := await _letters(world):
            break
        await asyncio.sleep(0.2)
    (letter,) = letters
    redrive = ("events", "redrive", GROUP, TOPIC, "--offset", str(letter["offset"]), "--by", "ada")

    assert letter["error_type"] == "UndecodableEvent"
    assert "attribute type" in letter["error_message"]
    assert (await answer(world, *redrive))["redriven"] == 1
    assert (await answer(world, *redrive))["redriven"] == 0


async def test_nothing_is_parked_after_a_turn_of_the_loop(world: World) -> None:
    parked = await answer(world, "events", "parked")

    assert [key for key in parked if key["key"] != "garbage"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("retry", GROUP, TOPIC, "0", "999999"), "no parked record at offset 999999"),
        (("skip", GROUP, "no.such.topic", "0", "1"), "topic: expected one of"),
        (("redrive", "orchestrator.nothing", TOPIC), "group: expected one of"),
        (("redrive", GROUP, TOPIC, "--offset", "999999"), "no dead letter at offset 999999"),
    ],
)
async def test_what_cannot_be_done_is_said_by_name(
    world: World, arguments: tuple[str, ...], expected: str
) -> None:
    code, out, err = await headrace(world, "events", *arguments)

    assert (code, out) == (1, "")
    assert expected in err
