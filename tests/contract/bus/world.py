"""The world that a bus lives in, as the contract sees it, and what its tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from aiokafka import ConsumerRecord

from headrace.events import DatasetVersionCreated, Envelope, contract_of, encode_headers
from headrace.events.topics import REGISTRY_DATASETS, dead_letter_topic
from headrace.runtime.bus import Bus, Event, Subscription, Tx
from headrace.runtime.bus.model import Handler, Patience
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
