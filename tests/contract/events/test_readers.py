"""Anybody's client reads what we publish: the CloudEvents SDK and kcat, both unmodified."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.json import JSONFormat

from deploy.local import Backends
from deploy.local.testing import create_database, drop_database
from headrace.events import CONTRACTS, Contract, ModelAliasState
from headrace.events.examples import example
from headrace.events.topics import Topic
from headrace.runtime.bus import apply_topics
from tests.harness.bus import member


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def published(backends: Backends) -> AsyncIterator[str]:
    """A topic with one record of each contract and a tombstone, published by the relay."""
    topic = Topic(name=f"test.readers.{uuid4().hex[:8]}", partitions=1, retention_ms=3_600_000)
    await apply_topics(backends.kafka, [topic])
    database = await create_database(backends)
    async with member(database=database, kafka=backends.kafka, service="registry") as registry:
        async with registry.bus.transaction() as tx:
            for contract in CONTRACTS:
                tx.emit(example(contract), correlation_id="turn", causation_id="cause")
            tx.tombstone(ModelAliasState, "default", "flights", "champion")
            # On a topic of its own, so that no service of another test takes the examples.
            tx.outgoing[:] = [replace(event, topic=topic.name) for event in tx.outgoing]
        await read(backends.kafka, topic.name)
    yield topic.name
    await drop_database(database)


async def read(kafka: str, topic: str) -> list[ConsumerRecord]:
    """All records of the topic, waited for."""
    client = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await client.start()
    try:
        async with asyncio.timeout(20):
            return [await client.getone() for _ in range(len(CONTRACTS) + 1)]
    finally:
        await client.stop()


async def test_the_cloudevents_sdk_reads_every_record(kafka: str, published: str) -> None:
    records = await read(kafka, published)

    for contract, record in zip(CONTRACTS, records, strict=False):
        message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
        event = from_kafka(message, JSONFormat())
        data = example(contract)
        assert event.get_type() == contract.type
        assert event.get_source().startswith("/registry/")
        assert event.get_subject() == contract.subject(data)
        assert event.get_datacontenttype() == contract.content_type
        assert event.get_extension("partitionkey") == contract.key(data) == record.key.decode()
        assert event.get_extension("correlationid") == "turn"
        assert event.get_extension("causationid") == "cause"
        assert contract.decode(as_bytes(event.get_data())) == data


async def test_kcat_shows_key_headers_and_value(kafka: str, published: str) -> None:
    shown = await kcat(kafka, published)

    assert len(shown) == len(CONTRACTS) + 1
    for contract, record in zip(CONTRACTS, shown, strict=False):
        headers = dict(zip(record["headers"][::2], record["headers"][1::2], strict=True))
        assert record["key"] == headers["ce_partitionkey"] == contract.key(example(contract))
        assert headers["ce_type"] == contract.type
        assert headers["ce_specversion"] == "1.0"
        assert headers["content-type"] == contract.content_type
        assert has_value(contract, record)
    assert (shown[-1]["key"], shown[-1]["payload"]) == ("default/flights/champion", None)


def has_value(contract: Contract[Any], record: dict[str, Any]) -> bool:
    """Whether kcat's text is the data; bytes of protobuf do not survive it."""
    text: str = record["payload"]
    return contract.binary or contract.decode(text.encode()) == example(contract)


def as_bytes(data: object) -> bytes:
    """Data from the SDK's: what the JSON says, bytes, or text where bytes happen to be UTF-8."""
    if isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else json.dumps(data).encode()


async def kcat(kafka: str, topic: str) -> Sequence[dict[str, Any]]:
    """What `kcat -J` prints of a whole topic."""
    program = shutil.which("kcat") or shutil.which("kafkacat")
    if program is None:
        pytest.skip("no kcat is installed (Debian: apt-get install kcat)")
    process = await asyncio.create_subprocess_exec(
        *(program, "-b", kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return [json.loads(line) for line in out.decode(errors="replace").splitlines()]
