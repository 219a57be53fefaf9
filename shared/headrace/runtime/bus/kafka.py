"""Kafka behind the bus: members declared with FastStream, an idempotent producer of aiokafka.

FastStream declares the subscribers, starts and stops their clients; the loop over them is ours,
because a handler of the framework is skipped when one record of its batch cannot be decoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker

from headrace.client.records import RecordSender, durable_producer
from headrace.events.topics import Topic
from headrace.runtime.bus.ports import Reader

_SESSION_MS: Final = 45_000
_FETCH_BYTES: Final = 8 * 1024 * 1024
_STOP_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 2.0


class KafkaMembership:
    """A declared subscriber; its client exists between start and stop."""

    def __init__(self, subscriber: Any) -> None:
        self._subscriber = subscriber

    @property
    def reader(self) -> Reader:
        """The client. Raises KafkaError until the broker is started."""
        client: Reader | None = self._subscriber.consumer
        if client is None:
            raise KafkaError("the consumer is not started")
        return client


class Kafka:
    """`ports.Broker` over Apache Kafka at `bootstrap` (host:port)."""

    def __init__(self, bootstrap: str, *, service: str) -> None:
        self._bootstrap = bootstrap
        self._service = service
        self._broker = KafkaBroker(
            bootstrap, client_id=f"headrace-{service}", allow_auto_create_topics=False, logger=None
        )

    def join(
        self,
        *,
        group: str,
        topics: Sequence[Topic],
        instance: int,
        listener: ConsumerRebalanceListener,
    ) -> KafkaMembership:
        """Declare a static member; offsets are PostgreSQL's, so none is ever reset."""
        subscriber = self._broker.subscriber(
            *(topic.name for topic in topics),
            group_id=group,
            group_instance_id=f"{group}-{instance}",
            auto_offset_reset="none",
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
            partition_assignment_strategy=(StickyPartitionAssignor,),
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=_FETCH_BYTES,
            listener=listener,
            batch=True,
        )
        return KafkaMembership(subscriber)

    async def start(self) -> None:
        """Connect the members."""
        await self._broker.start()

    async def stop(self) -> None:
        """Disconnect them."""
        await self._broker.stop()

    async def answers(self) -> bool:
        """A new connection, and the cluster's metadata over it."""
        client = AIOKafkaClient(bootstrap_servers=self._bootstrap, client_id="headrace-probe")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client.bootstrap()
        except (KafkaError, OSError, TimeoutError):
            return False
        finally:
            await client.close()
        return True

    def sender(self) -> AbstractAsyncContextManager[RecordSender]:
        """A connected idempotent producer."""
        return self._sender()

    @asynccontextmanager
    async def _sender(self) -> AsyncIterator[RecordSender]:
        producer = durable_producer(self._bootstrap, client_id=f"headrace-{self._service}-relay")
        try:
            await producer.start()
            yield RecordSender(producer)
        finally:
            await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop, without waiting for a broker that is away to take what is left."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except TimeoutError:
        await producer._sender.close()  # noqa: SLF001 - there is no other way to stop at once
        await producer.client.close()
