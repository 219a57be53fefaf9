"""The port to the broker for one simulated process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from headrace.client.records import Record
from headrace.events.topics import Topic
from tests.harness.simulation.kafka.cluster import Cluster, drafts_of
from tests.harness.simulation.kafka.log import Draft
from tests.harness.simulation.kafka.reader import SimulatedReader


class SimulatedMembership:
    """One member; its client exists from the broker's start on."""

    def __init__(self, reader: SimulatedReader) -> None:
        self._reader = reader
        self.started = False

    @property
    def reader(self) -> SimulatedReader:
        if not self.started:
            raise KafkaError("the broker is not started")
        return self._reader

    def start(self) -> None:
        self._reader.start()
        self.started = True

    async def stop(self) -> None:
        if self.started:
            self.started = False
            await self._reader.stop()


class SimulatedBroker:
    """`headrace.runtime.bus.ports.Broker` over a simulated cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._members: list[SimulatedMembership] = []

    def join(
        self,
        *,
        group: str,
        topics: Sequence[Topic],
        instance: int,
        listener: ConsumerRebalanceListener,
    ) -> SimulatedMembership:
        reader = SimulatedReader(
            cluster=self._cluster,
            group=self._cluster.group(group, [topic.name for topic in topics]),
            instance=f"{group}-{instance}",
            listener=listener,
        )
        membership = SimulatedMembership(reader)
        self._members.append(membership)
        return membership

    async def start(self) -> None:
        await self._cluster.connect().call(self._cluster.check_up)
        for member in self._members:
            if not member.started:
                member.start()

    async def stop(self) -> None:
        for member in self._members:
            await member.stop()

    async def answers(self) -> bool:
        return self._cluster.up

    @asynccontextmanager
    async def sender(self) -> AsyncGenerator[SimulatedSender, None]:
        await self._cluster.connect().call(self._cluster.check_up)
        yield SimulatedSender(self._cluster)


class SimulatedSender:
    """`headrace.runtime.bus.ports.Sender`: an idempotent producer's view of the cluster.

    Its records arrive as batches of random size; an error may leave any first part of them in
    the log, the last batch of it possibly later than the error.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._network = cluster.network
        self._channel = cluster.connect()

    async def partition_of(self, topic: str, key: bytes | None, wanted: int | None = None) -> int:
        if wanted is not None and wanted < len(self._cluster.places([topic])):
            return wanted
        return self._cluster.partition_of(topic, key or b"")

    async def send_to(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        place = TopicPartition(topic, partition)
        drafts = drafts_of(records)
        while drafts:
            size = self._network.random.randint(1, len(drafts))
            await self._append(place, drafts[:size])
            drafts = drafts[size:]
        if self._network.happens(self._network.weather.slow):
            await asyncio.sleep(self._network.delay() * 3)

    async def _append(self, place: TopicPartition, drafts: Sequence[Draft]) -> None:
        try:
            await self._channel.call(lambda: self._cluster.append(place, drafts))
        except KafkaConnectionError:
            if self._network.happens(self._network.weather.lost_answers):
                self._cluster.append_late(place, drafts)
            raise
