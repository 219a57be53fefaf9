"""The contract on the simulation, in virtual time."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from headrace.events.topics import GROUPS, all_topics
from headrace.runtime.bus import Subscription, Tx
from tests.contract.bus.contract import BusContract, Member
from tests.harness.simulation.kafka.broker import SimulatedBroker
from tests.harness.simulation.kafka.log import Draft
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.postgres.database import SimulatedDatabase
from tests.harness.simulation.workload import connection_of
from tests.harness.simulation.world import Instance, World

SuiteT = TypeVar("SuiteT", bound=type[BusContract])
Test = Callable[[Any, Any], Coroutine[Any, Any, None]]

_SEEDS: Final = 5


class SimulatedWorld:
    """`contract.World` of one seed."""

    def __init__(self, world: World) -> None:
        self._world = world

    def key(self, name: str) -> str:
        return name

    def broker(self, service: str) -> SimulatedBroker:
        _ = service
        return SimulatedBroker(self._world.cluster)

    def database(self, service: str) -> SimulatedDatabase:
        return SimulatedDatabase(self._world.server, service=service)

    @asynccontextmanager
    async def member(
        self,
        service: str,
        *,
        subscriptions: Sequence[Subscription] = (),
        instance: int = 0,
        running: bool = True,
    ) -> AsyncIterator[Member]:
        place = Instance(
            self._world, service=service, number=instance, subscribe=lambda: subscriptions
        )
        if not running:
            bus = place.make_bus()
            yield Member(bus=bus, die=lambda: None)
            return
        process = place.start()
        assert place.bus is not None
        yield Member(bus=place.bus, die=process.kill)
        await place.stop()

    async def send(self, topic: str, drafts: Sequence[Draft]) -> None:
        cluster = self._world.cluster
        part = cluster.partition_of(topic, drafts[0].key or b"")
        cluster.append(TopicPartition(topic, part), drafts)

    async def records(self, topic: str) -> list[ConsumerRecord]:
        return list(self._world.cluster.records(topic))

    async def note(self, tx: Tx, text: str) -> None:
        await connection_of(tx).append_effect(group="contract", id_=text, key="")

    async def notes(self, service: str) -> list[str]:
        rows = self._world.server.schema(service).effects.rows
        return [rows[number].id for number in sorted(rows)]

    async def shift_offsets(self, group: str, by: int) -> None:
        rows = self._offsets(group)
        for place in self._places(group):
            rows[group, place] = rows.get((group, place), 0) + by

    async def offsets(self, group: str) -> list[int]:
        rows = self._offsets(group)
        return [rows[group, place] for place in self._places(group)]

    def _offsets(self, group: str) -> dict[tuple[str, TopicPartition], int]:
        return self._world.server.schema(group.partition(".")[0]).offsets.rows

    def _places(self, group: str) -> list[TopicPartition]:
        return self._world.cluster.places([topic.name for topic in GROUPS[group]])


def in_virtual_time(suite: SuiteT) -> SuiteT:
    """Run every test of the suite on a virtual loop, under several seeds."""
    for name, test in inspect.getmembers(suite, inspect.iscoroutinefunction):
        if name.startswith("test_"):
            setattr(suite, name, _virtually(test))
    return suite


def _virtually(test: Test) -> Callable[[BusContract, int], None]:
    @pytest.mark.parametrize("seed", range(_SEEDS))
    def run(self: BusContract, seed: int) -> None:
        loop = VirtualLoop()
        world = World(f"contract {seed}", loop, topics=all_topics())
        try:
            with world.laws():
                loop.run(test(self, SimulatedWorld(world)))
        except BaseException:
            print("\n".join(world.lines))
            raise

    run.__name__ = test.__name__
    return run


@in_virtual_time
class TestSimulatedBus(BusContract):
    pass
