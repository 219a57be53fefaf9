"""A producer outside the platform: no outbox, at least once, each event under one (source, id)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from headrace.client.records import durable_producer
from headrace.events.contracts import contract_of
from headrace.events.envelope import Envelope, encode_headers
from headrace.events.orchestrator import PipelineRunRequested
from headrace.ids import new_id
from tests.faults.orders import Orders
from tests.faults.worker import PIPELINE
from tests.harness.history import Attempt, Outcome

_SOURCE: Final = "/a-foreign-producer"
_AT_ONCE: Final = 0.2
_LATER: Final = 0.1
_LONGEST_PAUSE: Final = 0.1


@dataclass(slots=True)
class Foreign:
    """Sends events of some keys; with `twins`, some of them twice, at once or later."""

    kafka: str
    orders: Orders
    twins: bool
    attempts: list[Attempt] = field(default_factory=list)

    async def run(self) -> None:
        """Produce for the round. What a broken broker left open is unknown and ends its key."""
        producer = durable_producer(self.kafka, client_id="foreign")
        await producer.start()
        try:
            await asyncio.gather(
                *(self._produce(producer, key) for key in self.orders.foreign_keys)
            )
        finally:
            await producer.stop()

    async def _produce(self, producer: AIOKafkaProducer, key: str) -> None:
        random = Random(f"{self.orders.seed}-{key}")
        sent: list[Envelope] = []
        while time.time() < self.orders.until:
            envelope = _envelope(key)
            outcome = await self._attempt(producer, envelope)
            self.attempts.append(
                Attempt(id=envelope.id, key=key, position=len(sent) + 1, outcome=outcome)
            )
            if outcome is Outcome.UNKNOWN:
                return
            sent.append(envelope)
            if self.twins and random.random() < _AT_ONCE:
                await self._attempt(producer, envelope)
            if self.twins and random.random() < _LATER:
                await self._attempt(producer, random.choice(sent))
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))

    async def _attempt(self, producer: AIOKafkaProducer, envelope: Envelope) -> Outcome:
        data = PipelineRunRequested(
            pipeline_run_id=envelope.key or "", pipeline=PIPELINE, requested_by="foreign"
        )
        contract = contract_of(data)
        try:
            await producer.send_and_wait(
                contract.topic.name,
                contract.encode(data),
                key=contract.key(data).encode(),
                headers=encode_headers(envelope),
            )
        except KafkaError:
            return Outcome.UNKNOWN
        return Outcome.ACKNOWLEDGED


def _envelope(key: str) -> Envelope:
    return Envelope(
        id=new_id(),
        source=_SOURCE,
        type="headrace.orchestrator.PipelineRunRequested.v1",
        time=datetime.now(UTC),
        subject=key,
        key=key,
    )
