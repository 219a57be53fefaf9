"""The broker: topics, groups, and whether it is up."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from headrace.client.records import Record
from headrace.events.topics import Topic
from tests.harness.simulation.kafka.groups import Group
from tests.harness.simulation.kafka.log import Draft, PartitionLog
from tests.harness.simulation.network import Channel, Network


class Cluster:
    """One broker with durable logs: what it acknowledged survives its crash."""

    def __init__(self, network: Network, topics: Sequence[Topic], *, gaps: float = 0.0) -> None:
        self.network = network
        self.up = True
        self.late = 0
        self.groups: dict[str, Group] = {}
        self._gaps = gaps
        self._logs = {
            place: PartitionLog(place)
            for topic in topics
            for place in (TopicPartition(topic.name, part) for part in range(topic.partitions))
        }
        self._watchers: dict[object, Callable[[TopicPartition], None]] = {}

    def connect(self) -> Channel:
        """A connection to the broker."""
        return Channel(self.network, lost=lambda: KafkaConnectionError("the connection broke"))

    def check_up(self) -> None:
        """Raise KafkaConnectionError while the broker is down."""
        if not self.up:
            raise KafkaConnectionError("no broker is reachable")

    def crash(self) -> None:
        self.up = False
        self.network.trace("broker crashes")

    def restart(self) -> None:
        self.up = True
        self.network.trace("broker is back")
        for group in self.groups.values():
            group.restart()
        for place in self._logs:
            self._notify(place)

    def log(self, place: TopicPartition) -> PartitionLog:
        return self._logs[place]

    def places(self, topics: Sequence[str]) -> list[TopicPartition]:
        """Every partition of some topics."""
        return [place for place in self._logs if place.topic in topics]

    def partition_of(self, topic: str, key: bytes) -> int:
        return zlib.crc32(key) % len(self.places([topic]))

    def group(self, name: str, topics: Sequence[str]) -> Group:
        """The group of that name, made where it is missing."""
        if name not in self.groups:
            self.groups[name] = Group(name, self.network, self.places(topics))
        return self.groups[name]

    def append(self, place: TopicPartition, drafts: Sequence[Draft]) -> None:
        """Write one batch. Raises while the broker is down."""
        self.check_up()
        gap = self.network.random.randint(1, 3) if self.network.happens(self._gaps) else 0
        milliseconds = int(self.network.wall_clock() * 1000)
        self._logs[place].append(drafts, milliseconds=milliseconds, gap=gap)
        if gap and self.network.happens(0.5):
            self._logs[place].append([], milliseconds=milliseconds, gap=1)
        self._notify(place)

    def append_late(self, place: TopicPartition, drafts: Sequence[Draft]) -> None:
        """A request that its sender gave up arrives after all, perhaps after its repetition."""

        def arrive() -> None:
            self.late -= 1
            if self.up:
                self.network.trace(f"late batch at {place.topic}/{place.partition}")
                self.append(place, drafts)

        self.late += 1
        self.network.loop.call_outside(self.network.random.uniform(0.0, 3.0), arrive)

    def records(self, topic: str) -> Iterator[ConsumerRecord]:
        """What a topic holds, partition by partition."""
        for place in self.places([topic]):
            yield from self._logs[place].records()

    def watch(self, watcher: object, notify: Callable[[TopicPartition], None]) -> None:
        """Tell a reader of every append."""
        self._watchers[watcher] = notify

    def unwatch(self, watcher: object) -> None:
        self._watchers.pop(watcher, None)

    def _notify(self, place: TopicPartition) -> None:
        for notify in self._watchers.values():
            notify(place)


def drafts_of(records: Sequence[Record]) -> list[Draft]:
    return [Draft(key=record.key, value=record.value, headers=record.headers) for record in records]
