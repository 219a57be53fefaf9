"""What the bus relies on in a group member's client, whatever stands behind the port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from headrace.events.topics import REGISTRY_DATASETS
from headrace.runtime.bus.ports import Broker, Reader

PLACE: Final = TopicPartition(REGISTRY_DATASETS.name, 0)
_POLL_MS: Final = 5000


class ReaderWorld(Protocol):
    """A broker with a group of this test alone."""

    @property
    def group(self) -> str: ...

    def broker(self) -> Broker:
        """For one more process."""
        ...

    async def append(self, *values: bytes) -> int:
        """Add records to PLACE; returns the offset of the first."""
        ...

    async def append_with_gap(self, value: bytes) -> int:
        """Add a record to PLACE and, behind it, offsets without any; returns its offset."""
        ...


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Lets its partitions go when `released` is set."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.released.set()
        self.asked = asyncio.Event()
        self.assigned = asyncio.Event()

    async def on_partitions_revoked(self, revoked: object) -> None:
        _ = revoked
        self.asked.set()
        await self.released.wait()

    async def on_partitions_assigned(self, assigned: object) -> None:
        if assigned:
            self.assigned.set()
        raise RuntimeError("a listener that raises changes nothing")


@asynccontextmanager
async def joined(
    world: ReaderWorld, listener: Listener | None = None, *, instance: int = 0
) -> AsyncIterator[Reader]:
    """A member's client once it has partitions."""
    listener = listener or Listener()
    broker = world.broker()
    membership = broker.join(
        group=world.group, topics=[REGISTRY_DATASETS], instance=instance, listener=listener
    )
    await broker.start()
    try:
        await asyncio.wait_for(listener.assigned.wait(), 20)
        yield membership.reader
    finally:
        await broker.stop()


async def stand(reader: Reader, offset: int) -> None:
    """Seek; what the client found before it knew where to stand may be told once more."""
    reader.seek(PLACE, offset)
    with contextlib.suppress(KafkaError):
        await reader.getmany(PLACE)
    reader.seek(PLACE, offset)


async def values(reader: Reader, *, most: int | None = None) -> list[bytes | None]:
    found = await reader.getmany(PLACE, timeout_ms=_POLL_MS, max_records=most)
    return [record.value for record in found.get(PLACE, [])]


class ReaderContract:
    """Inherited by one class of tests for each broker; `world` is its fixture."""

    async def test_a_partition_without_a_committed_offset_has_no_position(
        self, world: ReaderWorld
    ) -> None:
        async with joined(world) as reader:
            with pytest.raises(NoOffsetForPartitionError):
                await reader.getmany(timeout_ms=_POLL_MS)

    async def test_a_client_that_does_not_seek_begins_at_the_committed_offset(
        self, world: ReaderWorld
    ) -> None:
        first = await world.append(b"1", b"2")
        async with joined(world) as reader:
            await reader.commit({PLACE: first + 1})
        async with joined(world) as reader:
            assert await reader.position(PLACE) == first + 1
            assert await values(reader) == [b"2"]

    async def test_the_position_is_behind_what_was_given_out(self, world: ReaderWorld) -> None:
        first = await world.append(b"1", b"2", b"3")
        async with joined(world) as reader:
            await stand(reader, first)
            assert await values(reader, most=2) == [b"1", b"2"]
            assert await reader.position(PLACE) == first + 2
            assert await values(reader) == [b"3"]
            assert await reader.position(PLACE) == first + 3

    async def test_a_seek_drops_what_was_fetched(self, world: ReaderWorld) -> None:
        first = await world.append(b"1", b"2", b"3")
        async with joined(world) as reader:
            await stand(reader, first)
            assert await values(reader, most=1) == [b"1"]
            reader.seek(PLACE, first)
            assert await values(reader) == [b"1", b"2", b"3"]

    async def test_a_paused_partition_gives_nothing_and_loses_nothing(
        self, world: ReaderWorld
    ) -> None:
        first = await world.append(b"1", b"2")
        async with joined(world) as reader:
            await stand(reader, first)
            assert await values(reader, most=1) == [b"1"]
            reader.pause(PLACE)
            assert await reader.getmany(PLACE, timeout_ms=300) == {}
            reader.resume(PLACE)
            assert await values(reader) == [b"2"]

    async def test_the_position_moves_past_offsets_without_records(
        self, world: ReaderWorld
    ) -> None:
        first = await world.append_with_gap(b"1")
        second = await world.append(b"2")
        assert second > first + 1
        async with joined(world) as reader:
            await stand(reader, first)
            got: list[bytes | None] = []
            while len(got) < 2:
                got.extend(await values(reader))
            assert got == [b"1", b"2"]
            assert await reader.position(PLACE) == second + 1

    async def test_a_position_outside_the_log_is_an_error_again_and_again(
        self, world: ReaderWorld
    ) -> None:
        first = await world.append(b"1")
        async with joined(world) as reader:
            await stand(reader, first + 1000)
            for _ in range(2):
                with pytest.raises(OffsetOutOfRangeError):
                    await reader.getmany(PLACE, timeout_ms=_POLL_MS)
            await stand(reader, first)
            assert await values(reader) == [b"1"]

    async def test_what_is_not_assigned_cannot_be_read(self, world: ReaderWorld) -> None:
        async with joined(world) as reader:
            with pytest.raises(IllegalStateError):
                reader.seek(TopicPartition(PLACE.topic, 99), 0)

    async def test_nothing_is_delivered_until_the_listener_lets_the_partitions_go(
        self, world: ReaderWorld
    ) -> None:
        listener = Listener()
        first = await world.append(b"1")
        async with joined(world, listener) as reader:
            await stand(reader, first)
            listener.released.clear()
            listener.asked.clear()
            async with _joining(world, instance=1):
                await asyncio.wait_for(listener.asked.wait(), 20)
                assert PLACE in reader.assignment()
                getting = asyncio.create_task(values(reader))
                await asyncio.wait({getting}, timeout=1)
                assert not getting.done()
                listener.released.set()
                await asyncio.wait({getting}, timeout=20)
                assert getting.done()
                with contextlib.suppress(KafkaError):
                    getting.result()


@asynccontextmanager
async def _joining(world: ReaderWorld, *, instance: int) -> AsyncIterator[None]:
    """A second member that asks for its share."""
    broker = world.broker()
    broker.join(
        group=world.group, topics=[REGISTRY_DATASETS], instance=instance, listener=Listener()
    )
    starting = asyncio.ensure_future(broker.start())
    try:
        yield
    finally:
        await starting
        await broker.stop()
