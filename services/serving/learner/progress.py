"""How far the prediction log is read: which predictions cannot be missing any more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.events.topics import SERVING_LOG
from headrace.runtime.clock import Clock
from services.serving.learner.intake import GROUP
from services.serving.store import learning

NEVER: Final = datetime.min.replace(tzinfo=UTC)


class LogProgress:
    """Asks Kafka where the log ends, and the schema whether the group has come so far.

    What was in the log at a moment is known when the ends of that moment are passed, whichever
    process of the group reads a partition.
    """

    def __init__(self, *, kafka: str, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._kafka = kafka
        self._client: AIOKafkaConsumer | None = None
        self._asked: tuple[datetime, Mapping[int, int]] | None = None
        self.read_until = NEVER
        """Every prediction that was logged before is known."""

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.stop()

    async def look(self) -> None:
        """Bring `read_until` up to date. Raises KafkaError while the broker is away."""
        if self._asked is None:
            self._asked = self._clock.now(), await self._ends()
        moment, ends = self._asked
        async with self._pool.acquire() as connection:
            read = await learning.read_offsets(connection, group=GROUP, topic=SERVING_LOG.name)
        if all(read.get(partition, -1) >= end for partition, end in ends.items()):
            self.read_until = moment
            self._asked = None

    async def _ends(self) -> Mapping[int, int]:
        places = [TopicPartition(SERVING_LOG.name, part) for part in range(SERVING_LOG.partitions)]
        if self._client is None:
            client = AIOKafkaConsumer(bootstrap_servers=self._kafka, enable_auto_commit=False)
            await client.start()
            self._client = client
        ends = await self._client.end_offsets(places)
        return {place.partition: end for place, end in ends.items()}
