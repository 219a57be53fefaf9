"""The bus of one service: its transactions, its relay and its consumers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import asyncpg

from headrace.runtime.bus.consumer import Consumer
from headrace.runtime.bus.kafka import Kafka
from headrace.runtime.bus.model import Subscription, Tx
from headrace.runtime.bus.ports import BACKEND_TROUBLE, Broker, Database
from headrace.runtime.bus.postgres import Postgres
from headrace.runtime.bus.relay import Relay
from headrace.runtime.caller import Caller
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import SilentTracer, Tracer

_OFFSET_SECONDS: Final = 5.0
_ASK_SECONDS: Final = 2.0
_ASK_AGAIN_SECONDS: Final = 0.5
_TIDY_SECONDS: Final = 3600.0
_TELL_SECONDS: Final = 0.01
_STALLED_SECONDS: Final = 30.0
_STUCK_SECONDS: Final = 10.0
_FAILING_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 5.0


class Bus:
    """Exactly-once effects over a broker and a database for one service."""

    def __init__(
        self,
        *,
        service: str,
        instance: int,
        broker: Broker,
        database: Database,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        log: Log,
        tracer: Tracer | None = None,
    ) -> None:
        self._instance = instance
        self._broker = broker
        self._database = database
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._log = log
        self._tracer = tracer or SilentTracer()
        self._relay = Relay(
            service=service,
            database=database,
            broker=broker,
            clock=clock,
            metrics=metrics,
            tracer=self._tracer,
            log=log,
        )
        self._listeners: list[Callable[[], None]] = []
        self._untold = asyncio.Event()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self.consumers: list[Consumer] = []
        self.started = False
        self._silent_since: float | None = None

    @property
    def leading(self) -> bool:
        """Whether this process publishes for its service."""
        return self._relay.leading

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit of this process that emitted events."""
        self._listeners.append(listener)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Declare what this service consumes; before `run`."""
        self.consumers.extend(
            Consumer(
                subscription=subscription,
                broker=self._broker,
                database=self._database,
                instance=self._instance,
                clock=self._clock,
                random=self._random,
                metrics=self._metrics,
                tracer=self._tracer,
                log=self._log,
                emitted=self._committed,
            )
            for subscription in subscriptions
        )

    @asynccontextmanager
    async def transaction(self, caller: Caller | None = None) -> AsyncIterator[Tx]:
        """State changes and events that commit together; nothing is sent before the commit."""
        async with self._database.transaction() as ledger:
            tx = Tx(connection=ledger.connection, caller=caller or Caller.none())
            yield tx
            if tx.outgoing:
                await ledger.emit(tx.outgoing)
        if tx.outgoing:
            self._committed()

    async def run(self) -> None:
        """Relay and consume until `stop`, or until cancelled, which rolls back what is in hand."""
        relay = asyncio.create_task(self._relay.run(), name="relay")
        helping: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._stop.wait(), name="stop"),
            asyncio.create_task(self._consume(), name="consumers"),
            asyncio.create_task(self._tell_the_leader(), name="tell the leader"),
            asyncio.create_task(self._watch_broker(), name="watch the broker"),
            asyncio.create_task(self._tidy(), name="tidy"),
        ]
        self._ended.clear()
        try:
            await _first_of([relay, *helping])
            await asyncio.gather(*(consumer.stop() for consumer in self.consumers))
            self._relay.finish()
            await asyncio.wait({relay}, timeout=_DRAIN_SECONDS)
        finally:
            await _cancel([*helping, relay])
            with contextlib.suppress(*BACKEND_TROUBLE, asyncio.CancelledError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self._broker.stop()
            self._ended.set()

    async def stop(self) -> None:
        """Finish what is in hand and publish what is in the outbox; `run` has returned then."""
        self._stop.set()
        await self._ended.wait()

    def trouble(self) -> list[str]:
        """Why this bus is not ready; empty when it is."""
        if not self.started:
            return ["kafka: not connected yet"]
        reasons = []
        if self._silent_since is not None:
            seconds = asyncio.get_running_loop().time() - self._silent_since
            reasons.append(f"kafka: no answer for {seconds:.0f} s")
        if self._relay.stuck_seconds > _STUCK_SECONDS:
            reasons.append(f"relay: nothing published for {self._relay.stuck_seconds:.0f} s")
        for consumer in self.consumers:
            reasons.extend(_trouble_of(consumer))
        return reasons

    def wake(self) -> None:
        """Events were committed beside `transaction`: publish them now."""
        self._committed()

    def _committed(self) -> None:
        self._relay.wake()
        self._untold.set()
        for listener in self._listeners:
            listener()

    async def _consume(self) -> None:
        await self._start_broker()
        async with asyncio.TaskGroup() as group:
            for consumer in self.consumers:
                group.create_task(consumer.run(), name=consumer.group)
            group.create_task(self._publish_offsets(), name="offsets")

    async def _start_broker(self) -> None:
        while True:
            try:
                await self._broker.start()
            except BACKEND_TROUBLE as why:
                self._log.warning("kafka_unreachable", reason=repr(why))
                with contextlib.suppress(*BACKEND_TROUBLE):
                    await self._broker.stop()
                await asyncio.sleep(0.5)
            else:
                self.started = True
                return

    async def _publish_offsets(self) -> None:
        while True:
            await asyncio.sleep(_OFFSET_SECONDS)
            for consumer in self.consumers:
                with contextlib.suppress(*BACKEND_TROUBLE):
                    await consumer.publish_offsets()

    async def _tell_the_leader(self) -> None:
        """Wake a relay in another process: once for all commits of a moment, off their path."""
        while True:
            await self._untold.wait()
            self._untold.clear()
            if not self._relay.leading:
                with contextlib.suppress(*BACKEND_TROUBLE, asyncpg.PostgresError):
                    await self._database.tell_committed()
            await asyncio.sleep(_TELL_SECONDS)

    async def _watch_broker(self) -> None:
        """Ask the broker itself: a client that is cut off only finds nothing to read."""
        while True:
            if await self._broker.answers():
                self._silent_since = None
            elif self._silent_since is None:
                self._silent_since = asyncio.get_running_loop().time()
            silent = self._silent_since is not None
            await asyncio.sleep(_ASK_AGAIN_SECONDS if silent else _ASK_SECONDS)

    async def _tidy(self) -> None:
        while True:
            try:
                await self._database.tidy(self._clock.now().date())
            except (*BACKEND_TROUBLE, asyncpg.PostgresError) as why:
                self._log.warning("not_tidied", reason=repr(why))
            await asyncio.sleep(_TIDY_SECONDS)


def open_bus(
    *,
    service: str,
    instance: int,
    kafka: str,
    database_url: str,
    pool: asyncpg.Pool,
    metrics: Metrics,
    log: Log,
    tracer: Tracer | None = None,
) -> Bus:
    """The bus of a service over its Kafka and its PostgreSQL."""
    return Bus(
        service=service,
        instance=instance,
        broker=Kafka(kafka, service=service),
        database=Postgres(pool=pool, url=database_url, service=service),
        clock=SystemClock(),
        random=Random(),  # noqa: S311 - back-off, not secrets
        metrics=metrics,
        log=log,
        tracer=tracer,
    )


def _trouble_of(consumer: Consumer) -> list[str]:
    if consumer.gate.closed:
        return [f"{consumer.group}: paused by an operator"]
    reasons = []
    if consumer.out_of_log:
        reasons.append(f"{consumer.group}: stored offset outside the log")
    now = asyncio.get_running_loop().time()
    failing = consumer.failing
    if failing is not None and now - (failing.failing_since or now) > _FAILING_SECONDS:
        place, seconds = failing.place, now - (failing.failing_since or now)
        reasons.append(
            f"{consumer.group}: {place.topic} partition {place.partition} has been failing for"
            f" {seconds:.0f} s: {failing.failure[:200]}"
        )
    if consumer.last_poll is None or now - consumer.last_poll > _STALLED_SECONDS:
        reasons.append(f"{consumer.group}: no poll for {_STALLED_SECONDS:.0f} s")
    return reasons


async def _first_of(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Return when one of them ends. Raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
