"""The consumer of one group: takes partition batches from Kafka and hands them to `Effects`.

FastStream declares the subscriber and starts and stops its client; the loop is ours, because a
handler of the framework is skipped when one record of its batch cannot be decoded. Offsets are
PostgreSQL's (`held`); a fetch counts only if it began at `held`, and after any exception it is
dropped and the position set back to `held`. Positions are set here and never in the rebalance
listener, since delivery does not wait for it; the listener only forgets.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from faststream.kafka import KafkaBroker

from headrace.errors import Permanent
from headrace.events.topics import GROUPS
from headrace.runtime.bus import offsets
from headrace.runtime.bus.effects import Batch, Effects, Fenced
from headrace.runtime.bus.fetch import fetch
from headrace.runtime.bus.gate import Gate
from headrace.runtime.bus.model import Subscription
from headrace.runtime.telemetry import Log, Metrics

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_ATTEMPTS: Final = 8


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Runs one subscription until cancelled."""

    def __init__(
        self,
        *,
        subscription: Subscription,
        broker: KafkaBroker,
        instance: int,
        pool: asyncpg.Pool,
        metrics: Metrics,
        log: Log,
        after_commit: Callable[[], None],
    ) -> None:
        self.group = subscription.group
        self._pool = pool
        self._metrics = metrics
        self._log = log.bind(group=subscription.group)
        self._after_commit = after_commit
        self._max_records = subscription.max_records
        self._effects = Effects(subscription=subscription, pool=pool, metrics=metrics, log=log)
        self._held: dict[TopicPartition, int] = {}
        self._generation = 0
        self.gate = Gate()
        self.last_poll: float | None = None
        self.out_of_log: str | None = None
        self._subscriber = broker.subscriber(
            *(topic.name for topic in GROUPS[subscription.group]),
            group_id=subscription.group,
            group_instance_id=f"{subscription.group}-{instance}",
            auto_offset_reset="none",
            session_timeout_ms=45_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=8 * 1024 * 1024,
            listener=self,
            batch=True,
        )

    async def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002
        self._generation += 1
        self._held.clear()

    async def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002
        self._generation += 1
        self._held.clear()

    async def run(self) -> None:
        """Consume until cancelled; back-end trouble is waited out with back-off."""
        failures = 0
        while True:
            try:
                await self.gate.passed()
                await self._turn()
                failures = 0
            except (KafkaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as why:
                failures += 1
                self._held.clear()
                self._log.warning("consumer_interrupted", reason=repr(why))
                await asyncio.sleep(_full_jitter(failures))

    async def _turn(self) -> None:
        client = self._client()
        self.last_poll = asyncio.get_running_loop().time()
        generation = self._generation
        began = await self._positions(client)
        if not began:
            await asyncio.sleep(0.05)
            return
        try:
            fetched = await fetch(client, began, max_records=self._max_records)
        except OffsetOutOfRangeError as error:
            self.out_of_log = repr(error)
            self._log.error("stored_offset_outside_log", reason=repr(error))
            await asyncio.sleep(_LONGEST_PAUSE)
            return
        self.out_of_log = None
        for place, records in fetched.items():
            if generation != self._generation or place not in began:
                self._held.clear()
                return
            after = records[-1].offset + 1
            batch = Batch(place=place, held=began[place], after=after, records=records)
            await self._handle(client, batch, generation)

    async def _positions(self, client: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Where the next fetch begins, for every assigned partition; set to `held` first."""
        generation = self._generation
        assigned = client.assignment()
        for place in assigned - self._held.keys():
            held = await self._load(client, place)
            if generation != self._generation:
                return {}
            client.seek(place, held)
            self._held[place] = held
        return {place: self._held[place] for place in assigned if place in self._held}

    async def _load(self, client: AIOKafkaConsumer, place: TopicPartition) -> int:
        where = {"group": self.group, "topic": place.topic, "part": place.partition}
        async with self._pool.acquire() as connection:
            held = await offsets.held_offset(connection, **where)
            if held is not None:
                return held
            first = (await client.beginning_offsets([place]))[place]
            return await offsets.begin(connection, offset=first, **where)

    async def _handle(self, client: AIOKafkaConsumer, batch: Batch, generation: int) -> None:
        """Apply a batch, again and again if need be, while this process owns the partition."""
        attempts = 0
        while generation == self._generation:
            attempts += 1
            try:
                with self._metrics.processed.labels(self.group).time():
                    emitted = await self._effects.apply(
                        batch,
                        one_by_one=attempts > 1,
                        attempts=attempts,
                        hopeless=attempts >= _ATTEMPTS,
                    )
            except Fenced:
                self._metrics.fenced.labels(self.group).inc()
                self._log.warning("batch_fenced", topic=batch.place.topic)
                break
            except Exception as error:
                self._metrics.retries.labels(self.group).inc()
                if not isinstance(error, Permanent):
                    self._log.warning("batch_failed", attempt=attempts, error=repr(error))
                    await asyncio.sleep(_full_jitter(attempts))
                continue
            self._done(client, batch)
            if emitted:
                self._after_commit()
            return
        self._held.clear()

    def _done(self, client: AIOKafkaConsumer, batch: Batch) -> None:
        self._held[batch.place] = batch.after
        self._metrics.consumed.labels(self.group, batch.place.topic).inc(len(batch.records))
        end = client.highwater(batch.place)
        if end is not None:
            self._metrics.lag.labels(self.group, batch.place.topic).set(end - batch.after)

    async def publish_offsets(self) -> None:
        """Tell Kafka how far this group is, for lag tools only."""
        places = dict(self._held)
        if places:
            await self._client().commit(places)

    def _client(self) -> AIOKafkaConsumer:
        client = self._subscriber.consumer
        if client is None:
            raise KafkaError("the consumer is not started")
        return client


def _full_jitter(attempt: int) -> float:
    """Seconds to wait: uniform up to a bound that doubles (AWS, exponential backoff, 2015)."""
    return random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))  # noqa: S311
