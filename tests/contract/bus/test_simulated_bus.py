"""The contract on the simulation, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import ConsumerRecord, TopicPartition

from headrace.events.topics import GROUPS
from headrace.runtime.bus import Subscription, Tx
from tests.contract.bus.contract import BusContract
from tests.contract.bus.world import Member
from tests.harness.simulation.kafka.broker import SimulatedBroker
from tests.harness.simulation.kafka.log import Draft
from tests.harness.simulation.postgres.database import SimulatedDatabase
from tests.harness.simulation.suites import in_virtual_time
from tests.harness.simulation.workload import connection_of
from tests.harness.simulation.world import Instance, World


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


@in_virtual_time(SimulatedWorld)
class TestSimulatedBus(BusContract):
    pass
