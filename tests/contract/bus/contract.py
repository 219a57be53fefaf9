"""What every bus promises, whatever broker and database stand behind it.

`BusContract` runs on the simulation and on real Kafka and PostgreSQL: each gives it a `World`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from headrace.errors import Permanent, Transient
from headrace.events import DatasetVersionCreated
from headrace.events.headers import VERBATIM_HEADERS
from headrace.events.topics import GROUPS
from headrace.ids import new_id
from headrace.runtime.bus import Caller, Event, Subscription, Tx, Verbatim
from headrace.runtime.bus.model import BatchHandler, Outgoing
from tests.contract.bus.world import (
    GROUP,
    LETTERS,
    TOPIC,
    Member,
    Noting,
    World,
    emit,
    foreign,
    publish_again,
    subscription,
    until,
    version,
)
from tests.harness.simulation.kafka.log import Draft


class BusContract:
    """Inherited by one class of tests for each world; `world` is its fixture."""

    async def test_an_event_reaches_another_service_with_its_cause(self, world: World) -> None:
        key = world.key("caused")
        handler = Noting(world, key)
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]),
        ):
            caller = Caller(correlation_id="turn-1", causation_id="alert-1")
            async with registry.bus.transaction(caller) as tx:
                event_id = tx.emit(version(key, 1))
            await handler.noted(f"{key} 1")

        (event,) = handler.events
        assert (event.id, event.correlation_id) == (event_id, "turn-1")
        assert event.envelope.causation_id == "alert-1"
        assert event.envelope.sequence is not None

    async def test_what_is_rolled_back_is_never_published(self, world: World) -> None:
        key = world.key("undone")
        handler = Noting(world, key)
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]),
        ):
            with pytest.raises(RuntimeError, match="no"):
                await _emit_and_fail(registry, key)
            await emit(registry, key, 2)
            await handler.noted(f"{key} 2")

        assert len(await _of_key(world, TOPIC, key)) == 1

    async def test_events_of_a_key_arrive_in_the_order_of_their_commits(self, world: World) -> None:
        keys = [world.key("first"), world.key("second")]
        handler = Noting(world, *keys)
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]),
        ):
            for number in range(1, 8):
                await asyncio.gather(*(emit(registry, key, number) for key in keys))
            await until(lambda: _handled(handler, 14), what="all events")

        for key in keys:
            arrived = [one.data.version for one in handler.events if one.data.dataset == key]
            assert arrived == [1, 2, 3, 4, 5, 6, 7]

    async def test_numbers_ascend_within_a_source_and_a_partition(self, world: World) -> None:
        keys = [world.key(f"k{number}") for number in range(5)]
        async with world.member("registry") as registry:
            for number in range(1, 6):
                for key in keys:
                    await emit(registry, key, number)
            await until(lambda: _published(world, keys, 25), what="25 records")

        records = await world.records(TOPIC)
        for partition in {record.partition for record in records}:
            numbers = [
                dict(record.headers)["ce_sequence"]
                for record in records
                if record.partition == partition and record.key.decode() in keys
            ]
            assert numbers == sorted(set(numbers))

    async def test_a_batch_that_is_sent_again_changes_nothing(self, world: World) -> None:
        key = world.key("twice")
        handler = Noting(world, key)
        async with world.member("orchestrator", subscriptions=[subscription(handler)]):
            async with world.member("registry", running=False) as registry:
                await emit(registry, key, 1, 2, 3)
                await publish_again(world, "registry", times=3)
                await emit(registry, key, 4)
                await publish_again(world, "registry", times=1)
            await handler.noted(*(f"{key} {number}" for number in (1, 2, 3, 4)))
            await until(lambda: _published(world, [key], 10), what="3 records thrice, and one")

    async def test_poison_is_dead_lettered_with_its_reason_and_the_others_are_handled(
        self, world: World
    ) -> None:
        key = world.key("poison")
        handler = Noting(world, key)
        async with (
            world.member("registry"),
            world.member("orchestrator", subscriptions=[subscription(handler)]),
        ):
            await world.send(
                TOPIC,
                [
                    foreign(key, 1, identity=new_id()),
                    Draft(key=key.encode(), value=b"{", headers=[]),
                    foreign(key, 2, identity=new_id()),
                ],
            )
            await handler.noted(f"{key} 1", f"{key} 2")
            await until(lambda: _lettered(world, key, 1), what="the dead letter")

        (letter,) = await _of_key(world, LETTERS, key)
        assert dict(letter.headers)["dlt_error_type"] == b"UndecodableEvent"
        assert letter.value == b"{"

    async def test_a_permanent_failure_is_dead_lettered_with_its_effects_undone(
        self, world: World
    ) -> None:
        async def refuse_two(number: int) -> None:
            if number == 2:
                raise Permanent("two is not wanted")

        key = world.key("hopeless")
        handler = Noting(world, key, before=refuse_two)
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]),
        ):
            await emit(registry, key, 1, 2, 3)
            await handler.noted(f"{key} 1", f"{key} 3")
            await until(lambda: _lettered(world, key, 1), what="the dead letter")

        (letter,) = await _of_key(world, LETTERS, key)
        fields = dict(letter.headers)
        assert fields["dlt_error_message"] == b"two is not wanted"
        assert fields["dlt_original_topic"] == TOPIC.encode()
        assert fields["dlt_group"] == GROUP.encode()

    async def test_a_transient_failure_is_retried_and_keeps_the_order(self, world: World) -> None:
        tries = 0

        async def fail_twice(number: int) -> None:
            nonlocal tries
            if number == 2 and tries < 2:
                tries += 1
                raise Transient("not yet")

        key = world.key("transient")
        handler = Noting(world, key, before=fail_twice)
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]),
        ):
            await emit(registry, key, 1, 2, 3)
            await handler.noted(*(f"{key} {number}" for number in (1, 2, 3)))

        assert tries == 2

    async def test_a_failing_key_is_parked_and_the_others_flow_until_it_heals(
        self, world: World
    ) -> None:
        sick, well = world.key("sick"), world.key("well")
        healed = asyncio.Event()
        noting = Noting(world, sick, well)

        async def handler(event: Event[Any], tx: Tx) -> None:
            if event.data.dataset == sick and not healed.is_set():
                raise Transient("sick")
            await noting(event, tx)

        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]),
        ):
            for number in (1, 2, 3):
                await emit(registry, sick, number)
                await emit(registry, well, number)
            await noting.noted(*(f"{well} {number}" for number in (1, 2, 3)))
            await emit(registry, sick, 4)
            healed.set()
            await noting.noted(
                *(f"{well} {number}" for number in (1, 2, 3)),
                *(f"{sick} {number}" for number in (1, 2, 3, 4)),
            )

    async def test_when_a_member_dies_the_other_goes_on(self, world: World) -> None:
        keys = [world.key(f"shared{number}") for number in range(8)]
        handler = Noting(world, *keys)
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]) as first,
            world.member(
                "orchestrator", subscriptions=[subscription(handler)], instance=1
            ) as second,
        ):
            await until(lambda: _own_all(first, second), what="a share each")
            first.die()
            for key in keys:
                await emit(registry, key, 1)
            await until(lambda: _noted(world, 8), what="what was the dead member's")

        assert sorted(await world.notes("orchestrator")) == sorted(f"{key} 1" for key in keys)

    async def test_the_work_of_a_fenced_member_is_dropped(self, world: World) -> None:
        """Another owner handled the next record of every partition."""
        key = world.key("fenced")
        handler = Noting(world, key)
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[subscription(handler)]) as owner,
        ):
            await until(lambda: _own_all(owner), what="the assignment")
            await world.shift_offsets(GROUP, 1)
            await emit(registry, key, 1)
            await until(lambda: _published(world, [key], 1), what="the other owner's record")
            await emit(registry, key, 2)
            await handler.noted(f"{key} 2")

    async def test_foreign_twins_are_handled_once(self, world: World) -> None:
        key = world.key("twins")
        handler = Noting(world, key)
        first, second = (foreign(key, number, identity=new_id()) for number in (1, 2))
        async with world.member("orchestrator", subscriptions=[subscription(handler)]):
            await world.send(TOPIC, [first, first])
            await world.send(TOPIC, [first, second])
            await handler.noted(f"{key} 1", f"{key} 2")

    async def test_an_offset_outside_the_log_is_an_alarm_and_never_reset(
        self, world: World
    ) -> None:
        key = world.key("outside")
        handler = Noting(world, key)
        async with world.member("registry") as registry:
            await world.shift_offsets(GROUP, 1000)
            stored = await world.offsets(GROUP)
            async with world.member(
                "orchestrator", subscriptions=[subscription(handler)]
            ) as member:
                await emit(registry, key, 1)
                await until(lambda: _alarmed(member), what="the alarm")

        assert await world.offsets(GROUP) == stored
        assert handler.events == []

    async def test_a_tombstone_is_published_without_a_value(self, world: World) -> None:
        key = world.key("tombstone")
        async with world.member("registry") as registry:
            async with registry.bus.transaction() as tx:
                tx.outgoing.append(
                    Outgoing(
                        id=new_id(), topic=TOPIC, key=key, type="x.v1", payload=None, headers={}
                    )
                )
            await until(lambda: _published(world, [key], 1), what="the tombstone")

        (record,) = await _of_key(world, TOPIC, key)
        assert record.value is None

    async def test_a_record_of_another_protocol_keeps_its_key_headers_and_partition(
        self, world: World
    ) -> None:
        key = world.key("verbatim").encode()
        headers = [("pipeline", b"p"), ("odd", b"\xff\x00")]
        async with world.member("registry") as registry:
            async with registry.bus.transaction() as tx:
                verbatim = Verbatim(key=key, headers=headers, partition=2)
                identity = tx.send(TOPIC, b"\x00value", verbatim)
            await until(lambda: _arrived(world, key), what="the record")

        (record,) = [found for found in await world.records(TOPIC) if found.key == key]
        assert (record.partition, record.value) == (2, b"\x00value")
        assert list(record.headers[:2]) == headers
        added = dict(record.headers[2:])
        assert added["headrace-id"] == identity.encode()
        assert set(added) == {header.name for header in VERBATIM_HEADERS}

    async def test_slow_work_is_done_before_the_transaction_and_its_outcome_handed_over(
        self, world: World
    ) -> None:
        key = world.key("prepared")
        handler = Noting(world, key)
        prepared: list[int] = []

        async def prepare(events: Sequence[Event[DatasetVersionCreated]]) -> BatchHandler:
            prepared.extend(event.data.version for event in events if event.data.dataset == key)

            async def write(events: Sequence[Event[DatasetVersionCreated]], tx: Tx) -> None:
                for event in events:
                    await handler(event, tx)

            return write

        ahead = Subscription(group=GROUP, prepared={DatasetVersionCreated: prepare})
        async with (
            world.member("registry") as registry,
            world.member("orchestrator", subscriptions=[ahead]),
        ):
            for number in (1, 2, 3):
                await emit(registry, key, number)
            await handler.noted(*(f"{key} {number}" for number in (1, 2, 3)))
        assert list(dict.fromkeys(prepared)) == [1, 2, 3]

    async def test_stopping_finishes_what_is_in_hand(self, world: World) -> None:
        key = world.key("stopping")
        began = asyncio.Event()

        async def take_long(number: int) -> None:
            _ = number
            began.set()
            await asyncio.sleep(0.5)

        handler = Noting(world, key, before=take_long)
        async with world.member("registry") as registry:
            async with world.member("orchestrator", subscriptions=[subscription(handler)]):
                await emit(registry, key, 1)
                await began.wait()
            await handler.noted(f"{key} 1")


async def _emit_and_fail(member: Member, key: str) -> None:
    async with member.bus.transaction() as tx:
        tx.emit(version(key, 1))
        raise RuntimeError("no")


async def _of_key(world: World, topic: str, key: str) -> list[ConsumerRecord]:
    return [record for record in await world.records(topic) if record.key == key.encode()]


async def _arrived(world: World, key: bytes) -> bool:
    return any(record.key == key for record in await world.records(TOPIC))


async def _handled(handler: Noting, count: int) -> bool:
    return len(handler.events) >= count


async def _published(world: World, keys: Sequence[str], count: int) -> bool:
    return sum([len(await _of_key(world, TOPIC, key)) for key in keys]) >= count


async def _lettered(world: World, key: str, count: int) -> bool:
    return len(await _of_key(world, LETTERS, key)) >= count


async def _noted(world: World, count: int) -> bool:
    return len(await world.notes("orchestrator")) >= count


async def _own_all(*members: Member) -> bool:
    """Whether each member has a share, and together they have all."""
    partitions = sum(topic.partitions for topic in GROUPS[GROUP])
    shares = [
        len([lane for lane in member.bus.consumers[0].lanes if lane.standing is not None])
        for member in members
    ]
    return all(shares) and sum(shares) == partitions


async def _alarmed(member: Member) -> bool:
    return any("outside the log" in reason for reason in member.bus.trouble())
