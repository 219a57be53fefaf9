"""The bus of one service: its transactions, its relay and its consumers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker

from headrace.runtime.bus import outbox
from headrace.runtime.bus.consumer import Consumer
from headrace.runtime.bus.model import Caller, Subscription, Tx
from headrace.runtime.bus.relay import Relay
from headrace.runtime.telemetry import Log, Metrics

_OFFSET_SECONDS: Final = 5.0
_STALLED_SECONDS: Final = 30.0
_STUCK_SECONDS: Final = 10.0


class Bus:
    """Exactly-once effects over Kafka and PostgreSQL for one service."""

    def __init__(
        self,
        *,
        service: str,
        instance: int,
        kafka: str,
        database_url: str,
        pool: asyncpg.Pool,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._pool = pool
        self._metrics = metrics
        self._log = log
        self._instance = instance
        self._kafka = kafka
        self._broker = KafkaBroker(
            kafka, client_id=f"headrace-{service}", allow_auto_create_topics=False, logger=None
        )
        self._relay = Relay(
            service=service, database_url=database_url, kafka=kafka, metrics=metrics, log=log
        )
        self._listeners: list[Callable[[], None]] = []
        self.consumers: list[Consumer] = []
        self.started = False
        self._stop_asked = asyncio.Event()
        self._stopped = asyncio.Event()

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit of this process that emitted events."""
        self._listeners.append(listener)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Declare what this service consumes; before `run`."""
        self.consumers.extend(
            Consumer(
                subscription=subscription,
                broker=self._broker,
                instance=self._instance,
                pool=self._pool,
                metrics=self._metrics,
                log=self._log,
                after_commit=self._committed,
            )
            for subscription in subscriptions
        )

    @asynccontextmanager
    async def transaction(self, caller: Caller | None = None) -> AsyncIterator[Tx]:
        """State changes and events that commit together; nothing is sent before the commit."""
        async with self._pool.acquire() as connection, connection.transaction():
            tx = Tx(connection=connection, caller=caller or Caller.none())
            yield tx
            if tx.outgoing:
                await outbox.insert(connection, tx.outgoing)
        if tx.outgoing:
            self._committed()

    async def stop(self) -> None:
        """Finish what is in hand and empty the outbox; `run` has returned then."""
        self._stop_asked.set()
        await self._stopped.wait()

    async def run(self) -> None:
        """Relay and consume until `stop`, or until cancelled."""
        working = asyncio.create_task(self._work(), name="work")
        asked = asyncio.create_task(self._stop_asked.wait(), name="stop")
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            await _cancel([working, asked])
            self._stopped.set()

    async def _work(self) -> None:
        relay = asyncio.create_task(self._relay.run(), name="relay")
        consuming: list[asyncio.Task[None]] = []
        try:
            await self._start_broker()
            consuming = [
                asyncio.create_task(consumer.run(), name=consumer.group)
                for consumer in self.consumers
            ]
            consuming.append(asyncio.create_task(self._publish_offsets(), name="offsets"))
            done, _ = await asyncio.wait({relay, *consuming}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _cancel(consuming)
            with contextlib.suppress(KafkaError, OSError, asyncio.CancelledError):
                await self._broker.stop()
            self._relay.finish()
            await asyncio.wait({relay}, timeout=5)
            await _cancel([relay])

    def trouble(self) -> list[str]:
        """Why this bus is not ready; empty when it is."""
        if not self.started:
            return ["kafka: not connected yet"]
        now = asyncio.get_running_loop().time()
        reasons = []
        if self._relay.stuck_seconds > _STUCK_SECONDS:
            reasons.append(f"relay: nothing published for {self._relay.stuck_seconds:.0f} s")
        for consumer in self.consumers:
            if consumer.out_of_log:
                reasons.append(f"{consumer.group}: stored offset outside the log")
            if consumer.gate.closed:
                reasons.append(f"{consumer.group}: paused by an operator")
            elif consumer.last_poll is None or now - consumer.last_poll > _STALLED_SECONDS:
                reasons.append(f"{consumer.group}: no poll for {_STALLED_SECONDS:.0f} s")
        return reasons

    def _committed(self) -> None:
        self._relay.wake()
        for listener in self._listeners:
            listener()

    async def _start_broker(self) -> None:
        while True:
            try:
                await self._broker.start()
            except (KafkaError, OSError) as why:
                self._log.warning("kafka_unreachable", kafka=self._kafka, reason=repr(why))
                with contextlib.suppress(KafkaError, OSError):
                    await self._broker.stop()
                await asyncio.sleep(0.5)
            else:
                self.started = True
                return

    async def _publish_offsets(self) -> None:
        while True:
            await asyncio.sleep(_OFFSET_SECONDS)
            for consumer in self.consumers:
                with contextlib.suppress(KafkaError):
                    await consumer.publish_offsets()


def open_bus(
    *,
    service: str,
    instance: int,
    kafka: str,
    database_url: str,
    pool: asyncpg.Pool,
    metrics: Metrics,
    log: Log,
) -> Bus:
    """The bus of a service over its Kafka and its PostgreSQL."""
    return Bus(
        service=service,
        instance=instance,
        kafka=kafka,
        database_url=database_url,
        pool=pool,
        metrics=metrics,
        log=log,
    )


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
