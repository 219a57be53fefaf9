"""What handlers see of the bus: events, the transaction, and who asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from aiokafka import ConsumerRecord

from headrace.client.records import MAX_RECORD_BYTES
from headrace.errors import InvalidInput, Permanent
from headrace.events.contracts import Contract, Data, by_model, contract_of
from headrace.events.envelope import LONGEST_ATTRIBUTE, Envelope, Head, Kept, format_time
from headrace.events.headers import VERBATIM_TYPE
from headrace.events.topics import Topic
from headrace.ids import new_id
from headrace.runtime.caller import Caller
from headrace.runtime.db import Connection
from headrace.tracing import next_hop

DataT_co = TypeVar("DataT_co", bound=Data, covariant=True)


class Event(Generic[DataT_co]):
    """One event as it came: typed data, its envelope, and its place in the log.

    The envelope may be given as the head that it is made from when a handler asks for it.
    `record` is what it was read from, for handlers whose answer keeps its key and headers.
    """

    __slots__ = ("_head", "data", "offset", "partition", "record", "topic")

    def __init__(
        self,
        data: DataT_co,
        envelope: Envelope | Head,
        topic: str,
        partition: int,
        offset: int,
        record: Kept | None = None,
    ) -> None:
        self.data = data
        self._head = envelope
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.record = record

    @property
    def envelope(self) -> Envelope:
        """Everything the event says besides its data."""
        head = self._head
        return head.envelope if isinstance(head, Head) else head

    @property
    def id(self) -> str:
        """Event id; with the source it identifies the event."""
        return self.envelope.id

    @property
    def time(self) -> datetime:
        """When it happened by its producer's clock."""
        return self.envelope.time

    @property
    def correlation_id(self) -> str:
        """Loop turn that it belongs to; its own id where the producer gave none."""
        return self.envelope.correlation_id or self.envelope.id


@dataclass(frozen=True, kw_only=True, slots=True)
class Tombstone:
    """A key of a compacted topic that has no state any more.

    `at` is the time of the event, or of the record where whoever deleted the key named no event.
    """

    contract: Contract[Data]
    key: str
    at: datetime
    topic: str
    partition: int
    offset: int

    @property
    def key_values(self) -> tuple[str, ...]:
        """Values of the contract's key fields."""
        return tuple(self.key.rsplit("/", len(self.contract.key_fields) - 1))

    @property
    def is_of_contract(self) -> bool:
        """Whether the key is one that the contract's states have."""
        return len(self.key_values) == len(self.contract.key_fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verbatim:
    """How a record looks that is not one of our events: somebody else's protocol says so.

    It goes to `partition` where the topic has such a one, else where its key belongs.
    """

    key: bytes | None
    headers: Sequence[tuple[str, bytes]]
    partition: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """An event waiting for its commit; the relay adds source and sequence.

    Without a payload it is a tombstone. With `verbatim` it is no event, and `key` and `headers`
    are not published.
    """

    id: str
    topic: str
    key: str
    type: str
    payload: bytes | None
    headers: Mapping[str, str]
    verbatim: Verbatim | None = None


@dataclass(slots=True)
class Tx:
    """A transaction: state changes on `connection` and emitted events commit together."""

    connection: Connection
    caller: Caller | None
    outgoing: list[Outgoing] = field(default_factory=list)
    refused: list[tuple[Event[Any], Permanent]] = field(default_factory=list)

    def refuse(self, event: Event[Any], error: Permanent) -> None:
        """Dead-letter one event of a batch; the handler goes on with the others.

        Raising the error does the same, but has the batch handled again, event by event.
        """
        self.refused.append((event, error))

    def emit(
        self,
        data: Data,
        *,
        cause: Event[Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        event_id: str | None = None,
        caller: Caller | None = None,
        key: str | None = None,
        extensions: Mapping[str, str] | None = None,
    ) -> str:
        """Publish after the commit; returns the event id.

        The cause is, in this order: what is given, the event being handled, `caller` if it is
        given, the transaction's caller. `key` takes the place of the contract's where an answer
        belongs to whoever asked; `extensions` are further attributes by their names.
        Lock the aggregate's row before, so that order in the log is order of commits. Raises
        InvalidInput for data that no record could carry, before anything is committed.
        """
        contract = contract_of(data)
        payload = contract.encode(data)
        if len(payload) > MAX_RECORD_BYTES:
            raise InvalidInput(
                f"{contract.name} of {len(payload)} bytes: at most {MAX_RECORD_BYTES} fit an event"
            )
        chain = self._chain(cause, correlation_id, causation_id, caller)
        identity = event_id or new_id()
        headers = {
            "ce_subject": contract.subject(data),
            "content-type": contract.content_type,
            **chain,
            **{f"ce_{name}": text for name, text in (extensions or {}).items()},
        }
        outgoing = Outgoing(
            id=identity,
            topic=contract.topic.name,
            key=contract.key(data) if key is None else key,
            type=contract.type,
            payload=payload,
            headers=headers,
        )
        self.outgoing.append(_carried(contract.name, outgoing))
        return identity

    def send(
        self, topic: str, value: bytes, verbatim: Verbatim, *, record_id: str | None = None
    ) -> str:
        """Publish a record that is no event of ours after the commit; returns its id.

        The relay adds the headers that say whether it was seen before, nothing else. Raises
        InvalidInput for what no record could carry.
        """
        if len(value) > MAX_RECORD_BYTES:
            raise InvalidInput(
                f"a record of {len(value)} bytes for {topic}: at most {MAX_RECORD_BYTES} fit"
            )
        identity = record_id or new_id()
        self.outgoing.append(
            Outgoing(
                id=identity,
                topic=topic,
                key="",
                type=VERBATIM_TYPE,
                payload=value,
                headers={},
                verbatim=verbatim,
            )
        )
        return identity

    def tombstone(
        self,
        model: type[Data],
        *key: str,
        cause: Event[Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> str:
        """Say that a key of a state topic has no state any more; returns the event id.

        `key` are the values of the contract's key fields; for the rest see `emit`.
        """
        contract = by_model()[model]
        if not contract.topic.compacted or len(key) != len(contract.key_fields):
            wanted = ", ".join(contract.key_fields)
            raise ValueError(f"{contract.name}: expected a state contract's key ({wanted})")
        subject = key[contract.key_fields.index(contract.subject_field)]
        chain = self._chain(cause, correlation_id, causation_id)
        identity = new_id()
        outgoing = Outgoing(
            id=identity,
            topic=contract.topic.name,
            key="/".join(key),
            type=contract.type,
            payload=None,
            headers={"ce_subject": subject, **chain},
        )
        self.outgoing.append(_carried(contract.name, outgoing))
        return identity

    def _chain(
        self,
        cause: Event[Any] | None,
        correlation_id: str | None,
        causation_id: str | None,
        caller: Caller | None = None,
    ) -> dict[str, str]:
        """Headers that say when, and put an event into its chain of causes."""
        caller = Caller.by(cause) if cause is not None else caller or self.caller
        correlation = correlation_id or (caller.correlation_id if caller else None)
        if correlation is None:
            raise ValueError("emit in a batch handler needs `cause` or `correlation_id`")
        causation = causation_id or (caller.causation_id if caller else None)
        return {
            "ce_time": format_time(datetime.now(UTC)),
            "ce_correlationid": correlation,
            **({"ce_causationid": causation} if causation else {}),
            "traceparent": next_hop(caller.traceparent if caller else None),
        }


def _carried(name: str, outgoing: Outgoing) -> Outgoing:
    """The event if readers will take its key and headers; they refuse what is longer."""
    for field_name, text in (("key", outgoing.key), *outgoing.headers.items()):
        if "\x00" in text or len(text.encode(errors="replace")) > LONGEST_ATTRIBUTE:
            raise InvalidInput(
                f"{name}: {field_name}: expected at most {LONGEST_ATTRIBUTE} bytes without NUL",
                field=field_name,
            )
    return outgoing


Handler = Callable[[Event[Any], Tx], Awaitable[None]]
BatchHandler = Callable[[Sequence[Event[Any]], Tx], Awaitable[None]]
Preparation = Callable[[Sequence[Event[Any]]], Awaitable[BatchHandler]]
"""Slow work that is harmless to repeat, done before the transaction; what it returns is handed
the same events, or some of them, inside it."""
ForeignReader = Callable[[ConsumerRecord], Data]
"""Data of a record that is no CloudEvent. Raises UndecodableEvent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a failing record is tried before it is set aside.

    A batch is tried `attempts` times with full-jitter back-off up to `longest_pause` seconds
    while its partition is paused. A parked record is tried `parked_attempts` times, the pauses
    doubling up to `longest_parked_pause` seconds, before it is dead-lettered: two days and more.
    """

    attempts: int = 8
    longest_pause: float = 5.0
    parked_attempts: int = 60
    longest_parked_pause: float = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathering:
    """Waiting for more records before a batch is handled: at most so long, and so many bytes."""

    seconds: float
    max_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """What one consumer group does with the events of its topics.

    `handlers` get events one by one, `batches` get runs of consecutive events of one type from
    one partition; `prepared` are batch handlers that have slow work to do before. Types without
    any are skipped. `group` and its topics stand in `headrace.events.topics.GROUPS`, unless
    `topics` says otherwise: those of a protocol that is not ours, whose records `foreign` reads
    by the name of the topic. `gathering` makes fewer and larger batches. `twins_harmless` says
    that the handlers themselves know an event that a foreign producer sent again, by what it
    tells; then the bus need not remember the ids of a whole stream.
    """

    group: str
    handlers: Mapping[type[Data], Handler] = field(default_factory=dict)
    batches: Mapping[type[Data], BatchHandler] = field(default_factory=dict)
    prepared: Mapping[type[Data], Preparation] = field(default_factory=dict)
    topics: tuple[Topic, ...] | None = None
    foreign: Mapping[str, ForeignReader] = field(default_factory=dict)
    gathering: Gathering | None = None
    max_records: int = 2000
    twins_harmless: bool = False
    patience: Patience = Patience()
