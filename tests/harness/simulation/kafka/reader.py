"""A group member's client with the semantics of aiokafka.

Rebalances are eager: `on_partitions_revoked` is awaited before the member joins again, while
the old assignment still stands and nothing is delivered; delivery after it does not wait for
`on_partitions_assigned`; a listener that raises is ignored. A seek or a pause drops what was
fetched. A new assignment has no position until a seek, or until the offset that the group
committed to the broker is known (without one, NoOffsetForPartitionError).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnknownMemberIdError,
)

from tests.harness.simulation.kafka.cluster import Cluster
from tests.harness.simulation.kafka.fetched import Fetched, Standing
from tests.harness.simulation.kafka.groups import HEARTBEAT_SECONDS, Group, Joined

_RETRY_SECONDS: Final = 0.1
_MOST_CHUNKS: Final = 4

_Hear = Callable[[Collection[TopicPartition]], Awaitable[None] | None]


class SimulatedReader:
    """One client; runs its own tasks from `start` to `stop`."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        group: Group,
        instance: str,
        listener: ConsumerRebalanceListener,
    ) -> None:
        self._cluster = cluster
        self._network = cluster.network
        self._channel = cluster.connect()
        self._group = group
        self._instance = instance
        self._listener = listener
        self._member: int | None = None
        self._generation = 0
        self._standings: dict[TopicPartition, Standing] = {}
        self._buffer: dict[TopicPartition, Fetched | KafkaError] = {}
        self._reassigning = True
        self._stopped = False
        self._assigned = asyncio.Event()
        self._wanted = asyncio.Event()
        self._arrivals: list[asyncio.Future[bool]] = []
        self._rejoin = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._rejoin.set()
        self._cluster.watch(self, self._on_append)
        for name, routine in (
            ("coordination", self._coordinate),
            ("heartbeat", self._beat),
            ("fetch", self._fetch_forever),
        ):
            task = asyncio.create_task(routine(), name=f"{self._instance}:{name}")
            self._tasks.append(task)

    async def stop(self) -> None:
        """Disconnect without leaving the group, as static members do."""
        self._stopped = True
        self._cluster.unwatch(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._assigned.set()

    def assignment(self) -> Collection[TopicPartition]:
        return dict(self._standings).keys()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._standing(partition).position = offset
        self._wanted.set()

    async def position(self, partition: TopicPartition) -> int:
        while True:
            position = self._standing(partition).position
            if position is not None:
                return position
            await asyncio.sleep(_RETRY_SECONDS)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[ConsumerRecord]]:
        left = timeout_ms / 1000
        while True:
            if self._stopped:
                raise ConsumerStoppedError
            if self._reassigning:
                await self._assigned.wait()
            drained = self._drain(partitions, max_records)
            if drained or left <= 0:
                return drained
            began = self._network.loop.time()
            if not await self._arrival(left):
                return {}
            left -= self._network.loop.time() - began

    def pause(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._standing(partition).paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._standing(partition).paused = False
        self._wanted.set()

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        def serve() -> dict[TopicPartition, int]:
            self._cluster.check_up()
            return {place: self._cluster.log(place).start for place in partitions}

        return await self._channel.call(serve)

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._standing(partition).highwater

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        generation, member = self._generation, self._member

        def serve() -> None:
            self._cluster.check_up()
            if member is None or self._heartbeat(member, generation) != "known":
                raise CommitFailedError("the group rebalanced")
            self._group.committed.update(offsets)

        await self._channel.call(serve)

    def _standing(self, place: TopicPartition) -> Standing:
        standing = self._standings.get(place)
        if standing is None:
            raise IllegalStateError(f"No current assignment for partition {place}")
        return standing

    def _drain(
        self, wanted: Sequence[TopicPartition], most: int | None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        drained: dict[TopicPartition, list[ConsumerRecord]] = {}
        for place, found in list(self._buffer.items()):
            if wanted and place not in wanted:
                continue
            if isinstance(found, KafkaError):
                if drained:
                    return drained
                self._discard(place)
                raise found
            records = found.take(self._standings.get(place), most)
            if found.exhausted:
                self._discard(place)
            if records:
                drained[place] = records
                if most is not None:
                    most -= len(records)
                    if most == 0:
                        break
        return drained

    def _discard(self, place: TopicPartition) -> None:
        del self._buffer[place]
        self._wanted.set()

    async def _arrival(self, seconds: float) -> bool:
        """Whether something was fetched in time."""
        loop = self._network.loop
        arrival: asyncio.Future[bool] = loop.create_future()
        self._arrivals.append(arrival)
        timer = loop.call_later(seconds, _answer, arrival, False)
        try:
            return await arrival
        finally:
            timer.cancel()

    def _tell_arrival(self) -> None:
        for arrival in self._arrivals:
            _answer(arrival, True)
        self._arrivals.clear()

    def _on_append(self, place: TopicPartition) -> None:
        if place in self._standings:
            self._wanted.set()

    async def _fetch_forever(self) -> None:
        while True:
            self._wanted.clear()
            places = self._fetchable()
            if not places:
                await self._wanted.wait()
                continue
            chosen = [place for place in places if self._network.happens(0.8)]
            await asyncio.sleep(self._network.delay())
            if not self._cluster.up:
                await asyncio.sleep(_RETRY_SECONDS)
                self._wanted.set()
                continue
            for place in chosen:
                if self._fetch(place):
                    self._tell_arrival()

    def _fetchable(self) -> list[TopicPartition]:
        return [place for place in self._standings if self._is_fetchable(place)]

    def _is_fetchable(self, place: TopicPartition) -> bool:
        standing = self._standings[place]
        if place in self._buffer or standing.paused:
            return False
        log = self._cluster.log(place)
        position = standing.position
        return position is None or position != log.end

    def _fetch(self, place: TopicPartition) -> bool:
        """Fetch what is there; False if that is nothing."""
        standing = self._standings.get(place)
        if standing is None or not self._is_fetchable(place):
            return False
        log = self._cluster.log(place)
        if standing.position is None:
            return self._find_position(place, standing)
        standing.highwater = log.end
        if not log.holds(standing.position):
            self._buffer[place] = OffsetOutOfRangeError({place: standing.position})
            return True
        chunks = log.read(standing.position, chunks=self._network.random.randint(1, _MOST_CHUNKS))
        if chunks:
            self._buffer[place] = Fetched(chunks, standing.position, standing)
        return bool(chunks)

    def _find_position(self, place: TopicPartition, standing: Standing) -> bool:
        standing.position = self._group.committed.get(place)
        if standing.position is not None:
            self._wanted.set()
            return False
        self._buffer[place] = NoOffsetForPartitionError(place)
        return True

    async def _coordinate(self) -> None:
        while True:
            await self._rejoin.wait()
            self._reassigning = True
            self._assigned.clear()
            await self._tell(self._listener.on_partitions_revoked)
            self._assign(await self._join())
            await self._tell(self._listener.on_partitions_assigned)

    async def _join(self) -> Joined:
        while True:
            self._rejoin.clear()
            try:
                return await self._channel.wait(self._ask_to_join)
            except UnknownMemberIdError:
                self._member = None
            except KafkaError:
                await asyncio.sleep(_RETRY_SECONDS)

    def _ask_to_join(self, answer: asyncio.Future[Joined]) -> None:
        self._cluster.check_up()
        self._group.join(self._instance, self._member, answer)

    def _assign(self, joined: Joined) -> None:
        self._member = joined.member
        self._generation = joined.generation
        self._standings = {place: Standing() for place in joined.places}
        self._buffer.clear()
        self._reassigning = False
        self._assigned.set()
        self._wanted.set()
        places = ", ".join(f"{place.topic}/{place.partition}" for place in joined.places)
        self._network.trace(f"{self._instance} is assigned {places or 'nothing'}")

    async def _tell(self, hear: _Hear) -> None:
        try:
            heard = hear(dict(self._standings).keys())
            if heard is not None:
                await heard
        except Exception as error:
            self._network.trace(f"{self._instance}: listener raised {error!r}, ignored")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if self._member is not None:
                await self._beat_once(self._member)

    async def _beat_once(self, member: int) -> None:
        generation = self._generation
        try:
            told = await self._channel.call(lambda: self._heartbeat(member, generation))
        except KafkaConnectionError:
            return
        if self._member != member:
            return
        if told == "unknown":
            self._member = None
        if told != "known" and not self._reassigning:
            self._rejoin.set()

    def _heartbeat(self, member: int, generation: int) -> str:
        self._cluster.check_up()
        return self._group.heartbeat(self._instance, member, generation)


def _answer(arrival: asyncio.Future[bool], came: bool) -> None:
    if not arrival.done():
        arrival.set_result(came)
