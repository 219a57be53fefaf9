"""The reader's contract on aiokafka and Apache Kafka."""

from __future__ import annotations

from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from headrace.runtime.bus.kafka import Kafka
from tests.contract.bus.reader import PLACE, ReaderContract
from tests.harness.bus import ends, until


class RealReaderWorld:
    """`reader.ReaderWorld` on the broker that all tests share."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._run = uuid4().hex[:8]
        self.group = f"reader-{self._run}"

    def broker(self) -> Kafka:
        return Kafka(self._kafka, service="reader")

    async def append(self, *values: bytes) -> int:
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka, enable_idempotence=True)
        await producer.start()
        try:
            sent = [
                await producer.send_and_wait(PLACE.topic, value, partition=PLACE.partition)
                for value in values
            ]
        finally:
            await producer.stop()
        return int(sent[0].offset)

    async def append_with_gap(self, value: bytes) -> int:
        """A transaction ends in a marker, which has an offset."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka, transactional_id=f"reader-{self._run}"
        )
        await producer.start()
        try:
            async with producer.transaction():
                sent = await producer.send_and_wait(PLACE.topic, value, partition=PLACE.partition)
        finally:
            await producer.stop()
        await until(lambda: self._marked(int(sent.offset)), what="the marker")
        return int(sent.offset)

    async def _marked(self, offset: int) -> bool:
        """The broker answers a commit before it writes the marker."""
        return (await ends(self._kafka, [PLACE.topic]))[PLACE] > offset + 1


class TestRealReader(ReaderContract):
    @pytest.fixture
    def world(self, kafka: str) -> RealReaderWorld:
        return RealReaderWorld(kafka)
