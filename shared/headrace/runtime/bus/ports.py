"""What the bus needs of a broker and of a database.

Kafka and PostgreSQL stand behind these in production (`kafka.py`, `postgres.py`); the simulation
of the tests stands behind them with virtual time and seeded faults. Whatever is away raises one
of `BACKEND_TROUBLE`; after it nothing is known but what was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, NamedTuple, Protocol

import asyncpg
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from headrace.client.records import Record
from headrace.events.topics import Topic
from headrace.runtime.bus.model import Outgoing, Verbatim
from headrace.runtime.db import Connection

BACKEND_TROUBLE: Final = (
    OSError,
    TimeoutError,
    KafkaError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
"""A backend is away or full: wait and try again, no record is to blame."""


class Reader(Protocol):
    """A group member's client, as `aiokafka.AIOKafkaConsumer` has it."""

    def assignment(self) -> Collection[TopicPartition]: ...

    def seek(self, partition: TopicPartition, offset: int) -> None: ...

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record that `getmany` gives."""
        ...

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[ConsumerRecord]]:
        """Records from the position on, which moves past them; empty after `timeout_ms`.

        Raises `aiokafka.errors.OffsetOutOfRangeError` where the position is not in the log.
        """
        ...

    def pause(self, *partitions: TopicPartition) -> None: ...

    def resume(self, *partitions: TopicPartition) -> None: ...

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]: ...

    def highwater(self, partition: TopicPartition) -> int | None: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...


class Membership(Protocol):
    """One member of one group."""

    @property
    def reader(self) -> Reader:
        """The client. Raises KafkaError until the broker is started."""
        ...


class Sender(Protocol):
    """Publishes records; an instance that raised is not used again."""

    async def partition_of(self, topic: str, key: bytes | None, wanted: int | None = None) -> int:
        """Where the records of a key go; `wanted` where the topic has that partition."""
        ...

    async def send_to(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Return when all are durable, in this order. After an error any first part may be."""
        ...


class Broker(Protocol):
    """Kafka for one process."""

    def join(
        self,
        *,
        group: str,
        topics: Sequence[Topic],
        instance: int,
        listener: ConsumerRebalanceListener,
    ) -> Membership:
        """Declare a member, before `start`; `instance` makes it a static one."""
        ...

    async def start(self) -> None:
        """Connect the members. Raises one of BACKEND_TROUBLE."""
        ...

    async def stop(self) -> None:
        """Disconnect them; static members stay known until their session times out."""
        ...

    async def answers(self) -> bool:
        """Whether the broker answers now; known within two seconds."""
        ...

    def sender(self) -> AbstractAsyncContextManager[Sender]:
        """A connected idempotent producer."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How far a group is in a partition; `seen` is each relay's highest number handled there."""

    held: int
    seen: Mapping[bytes, bytes] = field(default_factory=dict)


class Identity(NamedTuple):
    """What makes an event of a foreign producer the same as another; `day` of its ce_time."""

    source: str
    id: str
    day: date


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A record that waits in the database until the trouble of its key is over."""

    topic: str
    partition: int
    offset: int
    key: bytes
    record: ConsumerRecord
    attempts: int
    error: str
    parked_at: datetime
    next_try: datetime


class Ledger(Protocol):
    """The bus's tables inside one transaction of the service's own schema."""

    @property
    def connection(self) -> Connection:
        """What handlers write their effects with."""
        ...

    async def advance(
        self, group: str, place: TopicPartition, *, standing: Standing, after: Standing
    ) -> int | None:
        """Compare-and-set the offset from `standing.held` to `after.held`; note `after.seen`.

        Locks the partition's row until the end of the transaction. Returns how many records of
        the partition are parked, or None if the offset is not what was held: another owner
        moved it.
        """
        ...

    async def hold(self, group: str, place: TopicPartition) -> None:
        """Lock the partition's row, as `advance` does, without moving the offset."""
        ...

    async def parked_keys(self, group: str, place: TopicPartition) -> Collection[bytes]:
        """Keys with parked records; stable while the partition's row is locked."""
        ...

    async def park(self, group: str, records: Sequence[Parked]) -> None:
        """Add records behind those of their key. The row is locked."""
        ...

    async def first_parked(self, group: str, place: TopicPartition, key: bytes) -> Parked | None:
        """The record of a key that is to be handled next. The row is locked."""
        ...

    async def unpark(self, group: str, parked: Parked) -> None:
        """Forget one parked record: it is handled or buried. The row is locked."""
        ...

    async def postpone(
        self, group: str, parked: Parked, *, attempts: int, next_try: datetime, error: str
    ) -> None:
        """Note one more failure of a parked record. The row is locked."""
        ...

    async def claim(self, group: str, identities: Sequence[Identity]) -> Collection[Identity]:
        """Note foreign events, which differ from one another; returns those that are new."""
        ...

    async def emit(self, events: Sequence[Outgoing]) -> None:
        """Add to the outbox, in this order."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """What is written inside is undone if the block raises."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An outbox row."""

    seq: int
    id: str
    topic: str
    key: str
    type: str
    payload: bytes | None
    headers: Mapping[str, str]
    verbatim: Verbatim | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayBatch:
    """Outbox rows with the numbers they are published under: `first` for the first row."""

    first: int
    rows: Sequence[Stored]


class RelaySession(Protocol):
    """One database session; what it holds and what it can still write end together."""

    async def lead(self) -> bool:
        """Whether this session holds, or now got, the lock of the one leader."""
        ...

    async def incarnation(self) -> str:
        """Identity of this outbox; a recreated one has another."""
        ...

    async def unfinished(self) -> Sequence[RelayBatch]:
        """Batches written down and not finished, in the order of their numbers."""
        ...

    async def turn(self, finished: Sequence[RelayBatch], *, limit: int) -> RelayBatch | None:
        """Forget `finished`, and write down the next batch of the lowest rows, if any: one commit.

        Rows of unfinished batches are not taken again.
        """
        ...

    async def heartbeat(self) -> None:
        """Keep the session from looking idle. Raises if it is lost."""
        ...

    async def backlog(self) -> tuple[int, datetime | None]:
        """Rows not yet published (at most 100,000 are counted), and when the oldest was made."""
        ...


class Database(Protocol):
    """PostgreSQL for one process, inside one service's schema."""

    def transaction(self) -> AbstractAsyncContextManager[Ledger]:
        """Commits at the end of the block, or raises; after an error in the commit it may hold."""
        ...

    async def standing(self, group: str, place: TopicPartition) -> Standing | None:
        """Where a group goes on; None if it never began."""
        ...

    async def begin(self, group: str, place: TopicPartition, offset: int) -> Standing:
        """Note where a group begins; returns what holds, also if another was first."""
        ...

    async def due(self, group: str) -> Sequence[tuple[TopicPartition, bytes]]:
        """Keys whose first parked record is to be tried now."""
        ...

    async def parked(self, group: str) -> tuple[int, int]:
        """How many keys wait, and how many records."""
        ...

    def relay_session(self, told: Callable[[], None]) -> AbstractAsyncContextManager[RelaySession]:
        """A session of its own, lost within 1.5 s if this process stands still.

        `told` is called when another process says, by `tell_committed`, that events wait.
        """
        ...

    async def tell_committed(self) -> None:
        """Wake the leading relay, which may be in another process."""
        ...

    async def tidy(self, today: date) -> None:
        """Drop what need not be remembered any longer; safe to repeat."""
        ...
