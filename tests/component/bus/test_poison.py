"""Records that nobody should send: each is buried, none stops its partition or its service."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.testing import TestDatabase
from headrace.events import DatasetVersionCreated, contract_of
from headrace.events.topics import REGISTRY_DATASETS
from headrace.runtime.bus import Event, Subscription, Tail, Tx
from headrace.runtime.telemetry import configure_logs
from tests.component.bus.test_effects import GROUP, headers, send, version
from tests.harness.bus import dead_letters, member, skip_history, until

UNREADABLE = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class NotText(str):
    def encode(self, *arguments):
        return b"\\xff\\xfe"

async def main():
    kafka, topic = sys.argv[1:]
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    place = sorted(await producer.partitions_for(topic))[0]
    await producer.send_and_wait(topic, b"{}", headers=[(NotText("x"), b"1")], partition=place)
    await producer.stop()

asyncio.run(main())
"""
"""A producer whose header name is not UTF-8; aiokafka's compiled builder would refuse it."""

GOOD = version("poison", 1)
BODY = contract_of(GOOD).encode(GOOD)
Headers = list[tuple[str, Any]]


def changed(name: str, value: Any) -> Headers:
    return [(key, value if key == name else raw) for key, raw in headers(GOOD, "poison")]


POISONS: dict[str, tuple[bytes | None, Headers]] = {
    "header name not UTF-8": (None, []),
    "null identifier": (b"poison", changed("ce_id", None)),
    "null header of an undecodable record": (b"poison", [("x", None)]),
    "key with NUL": (b"a\x00b", headers(GOOD, "poison")),
    "key with NUL, undecodable": (b"a\x00b", []),
    "header name with NUL": (b"poison", [("x\x00y", b"1")]),
    "source with NUL": (b"poison", changed("ce_source", b"/a\x00b")),
    "endless source": (b"poison", changed("ce_source", b"/" + b"a" * 12_000)),
    "id with NUL": (b"poison", changed("ce_id", b"a\x00b")),
    "endless key, undecodable": (b"k" * 3_000_000, []),
}


@pytest.mark.parametrize("name", POISONS)
async def test_a_poisonous_record_is_buried_and_the_next_one_handled(
    database: TestDatabase, kafka: str, name: str
) -> None:
    got: list[int] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        got.append(event.data.version)

    key, poison = POISONS[name]
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    await _send(kafka, key, poison)
    last = version("poison", 2)
    await send(kafka, "poison", contract_of(last).encode(last), headers(last, "after"))

    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    async with (
        dead_letters(kafka, group=GROUP, topic=REGISTRY_DATASETS.name) as buried,
        member(
            database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
        ),
    ):
        await until(lambda: got == [2], what="the event after the poison")
        letter = await asyncio.wait_for(buried.getone(), 20)

    assert dict(letter.headers)["dlt_error_type"] == b"UndecodableEvent"


async def test_a_view_reads_past_every_poison(kafka: str) -> None:
    for key, poison in POISONS.values():
        await _send(kafka, key, poison)
    last = version("view-after-poison", 9)
    await send(kafka, "poison", contract_of(last).encode(last), headers(last, "view"))
    seen: list[str] = []

    async def on_event(event: Event[Any]) -> None:
        seen.append(event.data.dataset)

    log = configure_logs(service="tail", level="error")
    tail = Tail(kafka=kafka, topics=[REGISTRY_DATASETS], on_event=on_event, log=log)
    running = asyncio.create_task(tail.run())
    await until(lambda: "view-after-poison" in seen, what="the event after the poisons")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_numbers_of_foreign_producers_mean_nothing(
    database: TestDatabase, kafka: str
) -> None:
    got: list[int] = []

    async def on_version(event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await tx.connection.execute("select 1")
        got.append(event.data.version)

    await skip_history(database=database, kafka=kafka, service="orchestrator")
    for number in (8, 9, 10, 11):
        data = version("numbers", number)
        fields = [*headers(data, f"n{number}"), ("ce_sequence", str(number).encode())]
        await send(kafka, "numbers", contract_of(data).encode(data), fields)
    subscription = Subscription(group=GROUP, handlers={DatasetVersionCreated: on_version})
    async with member(
        database=database, kafka=kafka, service="orchestrator", subscriptions=[subscription]
    ):
        await until(lambda: 11 in got, what="the last event")

    assert got == [8, 9, 10, 11]


async def _send(kafka: str, key: bytes | None, fields: Headers) -> None:
    if key is None:
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", UNREADABLE, kafka, REGISTRY_DATASETS.name],
            env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
            check=True,
            timeout=60,
        )
        return
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=8 * 1024 * 1024)
    await producer.start()
    places = sorted(await producer.partitions_for(REGISTRY_DATASETS.name))
    await producer.send_and_wait(
        REGISTRY_DATASETS.name, BODY, key=key, headers=fields, partition=places[0]
    )
    await producer.stop()
