"""A backlog of events as a relay of ours publishes them: 500 bytes of JSON, every header."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from headrace.client.records import Record, RecordSender, durable_producer
from headrace.events import Envelope, StepChanged, contract_of, encode_headers
from headrace.events.topics import ORCHESTRATOR_RUNS
from headrace.ids import new_id
from headrace.tracing import next_hop

TOPIC: Final = ORCHESTRATOR_RUNS.name
PARTITIONS: Final = ORCHESTRATOR_RUNS.partitions
GROUP: Final = "registry.events"
KEYS: Final = 300
_CHUNK: Final = 5000
_SOURCE: Final = f"/orchestrator/{uuid.UUID(int=7)}"


def event(number: int) -> StepChanged:
    """One of `KEYS` pipeline runs failed a step once more."""
    return StepChanged(
        pipeline_run_id=f"run-{number % KEYS:032d}",
        pipeline="flights",
        step="train",
        state="failed",
        attempt=number // KEYS,
        worker="worker-0",
        model="flights",
        seconds=12.5,
        error="the trainer ended with exit code 1: " + "x" * 194,
        changed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def records(count: int, *, first: int = 1) -> Iterator[Record]:
    """Numbered as a relay does, with the headers of CloudEvents and of the trace."""
    for number in range(first, first + count):
        data = event(number)
        contract = contract_of(data)
        envelope = Envelope(
            id=new_id(),
            source=_SOURCE,
            type=contract.type,
            time=datetime.now(UTC),
            subject=contract.subject(data),
            key=contract.key(data),
            correlation_id=new_id(),
            causation_id=new_id(),
            sequence=f"{number:020d}",
            traceparent=next_hop(None),
        )
        yield Record(
            topic=TOPIC,
            key=(envelope.key or "").encode(),
            value=contract.encode(data),
            headers=encode_headers(envelope),
        )


async def fill(kafka: str, count: int) -> int:
    """Publish a backlog; returns the mean size of a value in bytes."""
    producer = durable_producer(kafka, client_id="bench-fill")
    await producer.start()
    sender = RecordSender(producer)
    size = 0
    made = records(count)
    while chunk := list(islice(made, _CHUNK)):
        await sender.send(chunk)
        size += sum(len(record.value or b"") for record in chunk)
    await producer.stop()
    return size // count
