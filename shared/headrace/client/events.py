"""Producing events from outside the platform, or without a database inside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer

from headrace.client.records import Record, RecordSender, durable_producer
from headrace.events.contracts import Data, contract_of
from headrace.events.envelope import Envelope, encode_headers
from headrace.ids import new_id
from headrace.tracing import next_hop


class EventProducer:
    """Sends events as CloudEvents; a call returns when the broker has them durably.

    Delivery is at least once: a process that dies may send an event again, with another id.
    `source` names the producer, e.g. `/flights-client`; with the event id it identifies an event.
    """

    def __init__(self, *, kafka: str, source: str) -> None:
        self._source = source
        self._producer: AIOKafkaProducer = durable_producer(kafka, client_id=source.strip("/"))
        self._sender = RecordSender(self._producer)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect to the broker."""
        await self._producer.start()

    async def stop(self) -> None:
        """Flush and disconnect."""
        await self._producer.stop()

    async def emit(
        self, data: Data, *, correlation_id: str | None = None, causation_id: str | None = None
    ) -> str:
        """Send one event; returns its id."""
        ids = await self.emit_many([data], correlation_id=correlation_id, causation_id=causation_id)
        return ids[0]

    async def emit_many(
        self,
        events: Sequence[Data],
        *,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> list[str]:
        """Send events in one go; returns their ids. Order holds among events of one key."""
        envelopes = [self._envelope(data, correlation_id, causation_id) for data in events]
        await self._sender.send(
            [
                Record(
                    topic=contract_of(data).topic.name,
                    key=(envelope.key or "").encode(),
                    value=contract_of(data).encode(data),
                    headers=encode_headers(envelope),
                )
                for data, envelope in zip(events, envelopes, strict=True)
            ]
        )
        return [envelope.id for envelope in envelopes]

    def _envelope(
        self, data: Data, correlation_id: str | None, causation_id: str | None
    ) -> Envelope:
        contract = contract_of(data)
        event_id = new_id()
        return Envelope(
            id=event_id,
            source=self._source,
            type=contract.type,
            time=datetime.now(UTC),
            subject=contract.subject(data),
            key=contract.key(data),
            correlation_id=correlation_id or event_id,
            causation_id=causation_id,
            content_type=contract.content_type,
            traceparent=next_hop(None),
        )
