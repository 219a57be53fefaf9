"""Asynchronous inference as it runs: the further process, and clients of its topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from headrace.client.records import durable_producer
from headrace.events import contract_of
from headrace.events.envelope import Envelope, encode_headers
from headrace.events.topics import SERVING_INTAKE
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest
from services.serving.exporters import files, kserve
from tests.harness.bus import ends, skip_history, until
from tests.harness.serving_processes import Process, Serving, free_ports, running


@dataclass(frozen=True, kw_only=True)
class Asynchronous:
    """The process, and a producer of requests."""

    process: Process
    producer: AIOKafkaProducer

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        """One record, durable."""
        await self.producer.send_and_wait(
            topic, value, key=key, headers=list(headers), partition=partition
        )

    async def ask(self, request: ModelInferRequest, *, identity: str, **more: str) -> None:
        """One request of ours; `more` are further attributes, `key` is the record's key."""
        contract = contract_of(request)
        key = more.pop("key", identity)
        envelope = Envelope(
            id=identity,
            source="/asker",
            type=contract.type,
            time=datetime.now(UTC),
            key=key,
            content_type=contract.content_type,
            extensions=more,
        )
        headers = encode_headers(envelope)
        value = request.SerializeToString()
        await self.send(SERVING_INTAKE.name, value, key=key.encode(), headers=headers)


@asynccontextmanager
async def asynchronous(
    serving: Serving, kafka: str, **settings: str
) -> AsyncIterator[Asynchronous]:
    """Running and ready beside a control process and a worker."""
    (port,) = free_ports(1)
    own = {"ASYNC_HTTP_PORT": str(port), **settings}
    process = Process(
        arguments=["asynchronous"],
        env=serving.control.env | {f"HEADRACE_SERVING_{name}": text for name, text in own.items()},
        url=f"http://127.0.0.1:{port}",
        log=serving.control.log.with_name(f"asynchronous-{uuid4().hex[:6]}.log"),
    )
    producer = durable_producer(kafka, client_id="asker")
    await producer.start()
    process.start()
    try:
        await process.wait_ready()
        yield Asynchronous(process=process, producer=producer)
    finally:
        process.stop()
        await producer.stop()


@asynccontextmanager
async def exporters(serving: Serving, **settings: str) -> AsyncIterator[Process]:
    """The exporters of the prediction log, ready; they export what comes from now on."""
    await skip_history(
        database=serving.database,
        kafka=serving.database.backends.kafka,
        service="serving",
        groups={files.GROUP, kserve.GROUP},
    )
    (port,) = free_ports(1)
    own = {"EXPORT_HTTP_PORT": str(port), **settings}
    process = Process(
        arguments=["exporters"],
        env=serving.control.env | {f"HEADRACE_SERVING_{name}": text for name, text in own.items()},
        url=f"http://127.0.0.1:{port}",
        log=serving.control.log.with_name(f"exporters-{uuid4().hex[:6]}.log"),
    )
    async with running(process) as ready:
        yield ready


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Everything that came to some topics since the reader was there."""

    records: list[ConsumerRecord]

    async def wait(
        self, wanted: Callable[[ConsumerRecord], bool], count: int, *, seconds: float = 40
    ) -> list[ConsumerRecord]:
        """At least so many records that are wanted."""
        await until(
            lambda: sum(map(wanted, self.records)) >= count,
            seconds=seconds,
            what=f"{count} records",
        )
        return [record for record in self.records if wanted(record)]


@asynccontextmanager
async def reading(kafka: str, *topics: str) -> AsyncIterator[Reader]:
    """Read topics that exist from their present ends on."""
    starts = await ends(kafka, topics)
    client = AIOKafkaConsumer(
        bootstrap_servers=kafka, enable_auto_commit=False, isolation_level="read_committed"
    )
    await client.start()
    client.assign(list(starts))
    for place, end in starts.items():
        client.seek(TopicPartition(*place), end)
    reader = Reader(records=[])

    async def collect() -> None:
        async for record in client:
            reader.records.append(record)

    collecting = asyncio.create_task(collect())
    try:
        yield reader
    finally:
        collecting.cancel()
        await asyncio.wait({collecting})
        await client.stop()


def request_for(model: str, *, value: float = 0.0, name: str = "x") -> ModelInferRequest:
    """One row for a model of `onnx_models.constant`."""
    request = ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(np.full(4, value, np.float32).tobytes())
    return request


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """Headers as text."""
    return {name: value.decode() for name, value in record.headers}
