"""The simulated broker: sessions, shares, crashes; what its clients do is under contract."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from headrace.client.records import Record
from headrace.events.topics import Topic
from tests.harness.simulation.kafka.broker import SimulatedBroker
from tests.harness.simulation.kafka.log import UNREADABLE, Draft
from tests.harness.simulation.kafka.reader import SimulatedReader
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.network import Weather
from tests.harness.simulation.process import Process
from tests.harness.simulation.world import World

TOPIC: Final = Topic(name="t", partitions=2, retention_ms=1)
FIRST: Final = TopicPartition("t", 0)
SECOND: Final = TopicPartition("t", 1)


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Does nothing."""

    async def on_partitions_revoked(self, revoked: object) -> None: ...

    async def on_partitions_assigned(self, assigned: object) -> None: ...


def run(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop(max_seconds=300)
    loop.run(test(World("broker", loop, topics=[TOPIC])))


async def reader(world: World, *, instance: int = 0) -> SimulatedReader:
    """A member's client once it has partitions."""
    broker = SimulatedBroker(world.cluster)
    membership = broker.join(group="g", topics=[TOPIC], instance=instance, listener=Listener())
    await broker.start()
    await asyncio.sleep(3)
    assert membership.reader.assignment()
    return membership.reader


async def stand(client: SimulatedReader, place: TopicPartition, offset: int) -> None:
    """Seek, and have what was raised or fetched before out of the way."""
    client.seek(place, offset)
    await asyncio.sleep(1)
    with contextlib.suppress(KafkaError, UnicodeDecodeError):
        await client.getmany(place)
    client.seek(place, offset)


async def values(client: SimulatedReader, place: TopicPartition) -> list[bytes]:
    found = await client.getmany(place, timeout_ms=2000)
    return [record.value for record in found.get(place, [])]


def test_an_unreadable_record_raises_until_it_is_passed() -> None:
    async def test(world: World) -> None:
        bad = Draft(key=None, value=None, headers=[(UNREADABLE, b"1")])
        good = Draft(key=None, value=b"2", headers=[])
        world.cluster.append(FIRST, [bad, good])
        client = await reader(world)
        await stand(client, FIRST, 0)
        with pytest.raises(UnicodeDecodeError):
            await client.getmany(FIRST, timeout_ms=2000)
        client.seek(FIRST, 1)
        assert await values(client, FIRST) == [b"2"]

    run(test)


def test_two_members_share_and_the_share_of_a_dead_one_is_dealt_anew() -> None:
    async def test(world: World) -> None:
        dying = Process("dying", on_death=lambda _: None)
        first = await dying.spawn(reader(world), name="first")
        second = await reader(world, instance=1)
        await asyncio.sleep(5)
        assert len(first.assignment()) == len(second.assignment()) == 1
        dying.kill()
        await asyncio.sleep(20)
        assert len(second.assignment()) == 2

    run(test)


def test_a_static_member_that_comes_back_keeps_its_share_without_a_rebalance() -> None:
    async def test(world: World) -> None:
        dying = Process("dying", on_death=lambda _: None)
        first = await dying.spawn(reader(world), name="first")
        await reader(world, instance=1)
        await asyncio.sleep(5)
        share = list(first.assignment())
        rebalances = sum("rebalancing" in line for line in world.lines)
        dying.kill()
        again = await reader(world)
        assert list(again.assignment()) == share
        assert sum("rebalancing" in line for line in world.lines) == rebalances

    run(test)


def test_acknowledged_records_survive_a_crash_and_others_may_be_there_too() -> None:
    async def test(world: World) -> None:
        records = [Record(topic="t", key=b"k", value=b"v", headers=[])] * 3
        async with SimulatedBroker(world.cluster).sender() as sender:
            await sender.send_to("t", 0, records)
            world.set_weather(Weather(lost_answers=1.0))
            with pytest.raises(KafkaError):
                await sender.send_to("t", 1, records)
            world.cluster.crash()
            with pytest.raises(KafkaError):
                await sender.send_to("t", 0, records)
            world.cluster.restart()
        assert len(list(world.cluster.log(FIRST).records())) == 3
        assert len(list(world.cluster.log(SECOND).records())) >= 1

    run(test)
