"""What every bus promises, whatever broker and database stand behind it.

`BusContract` runs on the simulation and on real Kafka and PostgreSQL: each gives it a `World`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pytest
from aiokafka import ConsumerRecord

from headrace.errors import Permanent, Transient
from headrace.events import DatasetVersionCreated, Envelope, contract_of, encode_headers
from headrace.events.topics import GROUPS, REGISTRY_DATASETS, dead_letter_topic
from headrace.ids import new_id
from headrace.runtime.bus import Bus, Caller, Event, Subscription, Tx
from headrace.runtime.bus.model import Handler, Outgoing, Patience
from headrace.runtime.bus.pipeline import Pipeline
from headrace.runtime.bus.ports import Broker, Database
from headrace.runtime.tracing import SilentTracer
from tests.harness.simulation.kafka.log import Draft

GROUP: Final = "orchestrator.events"
TOPIC: Final = REGISTRY_DATASETS.name
LETTERS: Final = dead_letter_topic(GROUP, TOPIC)
DIGEST: Final = "sha256:" + "0" * 64
PATIENCE: Final = Patience(
    attempts=3, longest_pause=0.2, parked_attempts=60, longest_parked_pause=0.5
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One running instance of a service."""

    bus: Bus
    die: Callable[[], object]
    """End it as kill -9 would, as nearly as this world can."""


class World(Protocol):
    """A broker and a database. Others may use the topics too, with other keys."""

    def key(self, name: str) -> str:
        """A key of this test alone."""
        ...

    def broker(self, service: str) -> Broker: ...

    def database(self, service: str) -> Database: ...

    def member(
        self,
        service: str,
        *,
        subscriptions: Sequence[Subscription] = (),
        instance: int = 0,
        running: bool = True,
    ) -> AbstractAsyncContextManager[Member]:
        """An instance of a service; the first one begins at the end of the topics."""
        ...

    async def send(self, topic: str, drafts: Sequence[Draft]) -> None:
        """Append records, in this order, to the partition of the first one's key."""
        ...

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """What came to a topic since the test began."""
        ...

    async def note(self, tx: Tx, text: str) -> None:
        """An effect: text that commits with the transaction."""
        ...

    async def notes(self, service: str) -> list[str]:
        """The committed effects of a service, in their order."""
        ...

    async def shift_offsets(self, group: str, by: int) -> None:
        """Do as another owner of all the group's partitions would."""
        ...

    async def offsets(self, group: str) -> list[int]:
        """The stored offsets of all the group's partitions, in their order."""
        ...


def version(key: str, number: int) -> DatasetVersionCreated:
    return DatasetVersionCreated(
        dataset=key, version=number, digest=DIGEST, rows=1, segments=1, origin="upload"
    )


def subscription(handler: Handler) -> Subscription:
    return Subscription(group=GROUP, handlers={DatasetVersionCreated: handler}, patience=PATIENCE)


def foreign(key: str, number: int, *, identity: str) -> Draft:
    """An event of a producer that is none of our relays."""
    data = version(key, number)
    contract = contract_of(data)
    envelope = Envelope(
        id=identity,
        source="/foreign",
        type=contract.type,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        key=key,
    )
    value = contract.encode(data)
    return Draft(key=key.encode(), value=value, headers=encode_headers(envelope))


async def emit(member: Member, key: str, *numbers: int) -> None:
    """One transaction with some versions."""
    async with member.bus.transaction() as tx:
        for number in numbers:
            tx.emit(version(key, number))


async def publish_again(world: World, service: str, *, times: int) -> None:
    """Publish an outbox as relays do that die, but for the last, before they forget it."""
    async with (
        world.broker(service).sender() as sender,
        world.database(service).relay_session(lambda: None) as session,
    ):
        assert await session.lead()
        batch = await session.turn([], limit=1000)
        assert batch is not None
        source = f"/{service}/{await session.incarnation()}"
        for _ in range(times):
            pipeline = Pipeline(sender=sender, source=source, tracer=SilentTracer())
            await pipeline.begin(batch)
            await pipeline.wait(seconds=10)
            assert pipeline.take_finished() == [batch]
        await session.turn([batch], limit=0)


async def until(condition: Callable[[], Awaitable[bool]], *, what: str) -> None:
    """Wait for a condition. Raises AssertionError naming `what` when it does not come."""
    deadline = asyncio.get_running_loop().time() + 30
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited 30 s for {what}"
        await asyncio.sleep(0.02)


class Noting:
    """A handler that notes `<key> <version>`, after what `before` does."""

    def __init__(
        self, world: World, *keys: str, before: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        self._world = world
        self._keys = keys
        self._before = before
        self.events: list[Event[DatasetVersionCreated]] = []

    async def __call__(self, event: Event[Any], tx: Tx) -> None:
        if event.data.dataset not in self._keys:
            return
        await self._world.note(tx, f"{event.data.dataset} {event.data.version}")
        if self._before is not None:
            await self._before(event.data.version)
        self.events.append(event)

    async def noted(self, *expected: str) -> None:
        """Return once exactly these stand there, in this order."""

        async def complete() -> bool:
            return len(await self._world.notes("orchestrator")) >= len(expected)

        await until(complete, what=f"{len(expected)} effects")
        assert await self._world.notes("orchestrator") == list(expected)


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
