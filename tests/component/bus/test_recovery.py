"""Dead letters say what their records said, and no record among them stops a person."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from deploy.local.testing import TestDatabase
from headrace.cli import events
from headrace.client.records import MAX_RECORD_BYTES
from headrace.errors import Conflict, InvalidInput, NotFound, Transient, UndecodableEvent
from headrace.events import contract_of
from headrace.events.topics import (
    MONITORING_ALERTS,
    ORCHESTRATOR_COMMANDS,
    REGISTRY_MODELS,
    SERVING_DEPLOYMENTS,
    dead_letter_topic,
)
from headrace.runtime import db
from headrace.runtime.bus.deadletter import Burial, revived
from headrace.runtime.bus.deadletter_reading import open_topic
from headrace.runtime.bus.model import Outgoing
from headrace.runtime.bus.ports import Parked
from headrace.runtime.bus.postgres import Postgres
from headrace.runtime.bus.reading import read_record
from headrace.runtime.bus.recovery import Recovery, Redriven
from headrace.runtime.telemetry import Metrics
from tests.component.bus.test_effects import GROUP, headers, version
from tests.component.bus.test_poison import UNREADABLE
from tests.harness.bus import skip_history

TOPIC = MONITORING_ALERTS.name
OTHER = REGISTRY_MODELS.name
NOW = datetime.now(UTC)
DATA = version("recovered", 1)
BODY = contract_of(DATA).encode(DATA)
Headers = Sequence[tuple[str, bytes | None]]


def record(
    fields: Headers,
    *,
    key: bytes | None = b"k",
    value: bytes = BODY,
    offset: int = 5,
    topic: str = TOPIC,
) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=offset,
        timestamp=7,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple(fields),
    )


def without(name: str) -> list[tuple[str, bytes]]:
    return [(key, value) for key, value in headers(DATA, "one") if key != name]


def buried(original: ConsumerRecord) -> Outgoing:
    error = UndecodableEvent("why")
    return Burial(record=original, error=error, attempts=1, at=NOW).letter(GROUP)


def relayed(row: Outgoing) -> ConsumerRecord:
    """What the relay makes of an outbox row."""
    own = {
        "ce_specversion": "1.0",
        "ce_id": row.id,
        "ce_source": "/orchestrator/x",
        "ce_type": row.type,
        "ce_partitionkey": row.key,
        "ce_sequence": "00000000000000000001",
    }
    fields = [(name, text.encode()) for name, text in (own | dict(row.headers)).items()]
    return record(fields, key=row.key.encode(), value=row.payload or b"", topic=row.topic)


def back(original: ConsumerRecord) -> ConsumerRecord:
    return revived(relayed(buried(original)), topic=TOPIC)


def test_a_revived_record_says_what_it_said() -> None:
    extensions = [("ce_idempotencykey", b"i"), ("ce_sourcesystem", b"s"), ("dlt_mine", b"m")]
    original = record([*headers(DATA, "one"), *extensions, ("ce_partitionkey", b"p")])

    found = back(original)

    assert dict(found.headers) == dict(original.headers)
    assert (found.key, found.value, found.timestamp) == (b"k", BODY, 7)


@pytest.mark.parametrize("key", [b"\xff\xfe", b"a\x00b", b"\xc3\xa9" * 900, "é".encode(), None])
def test_a_revived_record_has_its_own_key(key: bytes | None) -> None:
    assert back(record(headers(DATA, "one"), key=key)).key == key


@pytest.mark.parametrize(
    "fields",
    [
        without("ce_type"),
        without("ce_specversion"),
        [*without("ce_specversion"), ("ce_specversion", b"0.3")],
        without("ce_id"),
        [],
    ],
)
def test_a_revived_record_fails_as_it_did_before(fields: Headers) -> None:
    wanted = {contract_of(DATA).type.encode(): contract_of(DATA).decoder()}
    with pytest.raises(UndecodableEvent) as before:
        read_record(record(fields), wanted)
    with pytest.raises(UndecodableEvent) as after:
        read_record(back(record(fields)), wanted)

    assert str(after.value) == str(before.value)


def test_an_older_dead_letter_is_revived_as_far_as_it_was_kept() -> None:
    fields = headers(DATA, "one")
    letter = buried(record(fields))
    since = {f"dlt_original_{name}" for name in ("specversion", "partitionkey", "key")}
    older = {name: text for name, text in letter.headers.items() if name not in since}

    found = revived(relayed(replace(letter, headers=older)), topic=TOPIC)

    assert (dict(found.headers), found.key) == (dict(fields), b"k")


CUT = record(headers(DATA, "cut"), value=b"x" * (MAX_RECORD_BYTES + 1))
UNREVIVABLE = {
    "only 4194304 of 4194305 bytes": relayed(buried(CUT)),
    "no key was kept": relayed(buried(record([], key=b"\xff" * 2001))),
    "2700 bytes, at most": relayed(buried(record([], key="€".encode() * 900))),
    "of another": relayed(buried(record([], topic="another"))),
    "is out of range": relayed(buried(record([], offset=2**63))),
    "missing, so this is no dead letter": record([("x", b"y")]),
    "dlt_original_size: invalid literal": record(
        [("dlt_original_topic", TOPIC.encode()), ("dlt_original_size", b"many")]
    ),
    "can't decode byte": record([("dlt_original_topic", b"\xff")]),
}


@pytest.mark.parametrize("reason", UNREVIVABLE)
def test_what_cannot_be_revived_is_refused_by_name(reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        revived(UNREVIVABLE[reason], topic=TOPIC)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where a person works; no bus runs, so what is put back to work stays parked."""

    recovery: Recovery
    database: Postgres
    pool: Any
    metrics: Metrics

    async def retry(self, offset: int) -> None:
        await self.recovery.retry(group=GROUP, topic=TOPIC, partition=0, offset=offset)

    async def skip(self, offset: int) -> None:
        await self.recovery.skip(group=GROUP, topic=TOPIC, partition=0, offset=offset, by="ada")

    async def redrive(self, offset: int | None = None, *, topic: str = TOPIC) -> Redriven:
        return await self.recovery.redrive(group=GROUP, topic=topic, offset=offset, by="ada")

    async def park(self, *offsets: int, key: bytes = b"k", topic: str = TOPIC) -> None:
        later = NOW + timedelta(days=1)
        parked = [
            Parked(
                topic=topic,
                partition=0,
                offset=offset,
                key=key,
                record=record(headers(DATA, f"p{offset}"), key=key, offset=offset, topic=topic),
                attempts=1,
                error="why",
                parked_at=NOW,
                next_try=later,
            )
            for offset in offsets
        ]
        async with self.database.transaction() as ledger:
            await ledger.park(GROUP, parked)

    async def offsets(self, condition: str = "true") -> list[int]:
        query = f"select kafka_offset from parked where {condition} order by kafka_offset"  # noqa: S608
        return [row["kafka_offset"] for row in await self.pool.fetch(query)]

    async def due(self) -> list[int]:
        return await self.offsets("next_try <= now()")


@asynccontextmanager
async def desk(database: TestDatabase, kafka: str) -> AsyncIterator[Desk]:
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    url = database.url("orchestrator")
    pool = await db.open_pool(url, schema="orchestrator", size=2)
    store, metrics = Postgres(pool=pool, url=url, service="orchestrator"), Metrics()
    recovery = Recovery(
        service="orchestrator", kafka=kafka, pool=pool, database=store, metrics=metrics
    )
    try:
        yield Desk(recovery=recovery, database=store, pool=pool, metrics=metrics)
    finally:
        await pool.close()


async def put(kafka: str, topic: str, *letters: ConsumerRecord) -> list[int]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=8 * 1024 * 1024)
    await producer.start()
    try:
        return [
            (
                await producer.send_and_wait(
                    topic, letter.value, key=letter.key, headers=list(letter.headers), partition=0
                )
            ).offset
            for letter in letters
        ]
    finally:
        await producer.stop()


async def put_unreadable(kafka: str, topic: str) -> None:
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", UNREADABLE, kafka, topic],
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        check=True,
        timeout=60,
    )


def letter_of(offset: int, *, topic: str = TOPIC) -> ConsumerRecord:
    return relayed(buried(record(headers(DATA, f"l{offset}"), offset=offset, topic=topic)))


async def test_redriving_all_passes_over_what_is_no_dead_letter(
    database: TestDatabase, kafka: str
) -> None:
    letters = dead_letter_topic(GROUP, TOPIC)
    async with desk(database, kafka) as at:
        await at.redrive()
        before = set(await at.offsets())
        known = await at.redrive()
        await put(kafka, letters, letter_of(1_000_001), *UNREVIVABLE.values())
        await put_unreadable(kafka, letters)
        (last,) = await put(kafka, letters, letter_of(1_000_002))

        done = await at.redrive()
        parked = set(await at.offsets()) - before
        with pytest.raises(InvalidInput, match="no dead letter"):
            await at.redrive(last - 1)

    assert known.redriven == 0
    assert (done.redriven, parked) == (2, {1_000_001, 1_000_002})
    assert done.passed_over - known.passed_over == len(UNREVIVABLE) + 1


async def test_a_record_asked_for_by_its_offset_is_redriven_or_refused_by_name(
    database: TestDatabase, kafka: str
) -> None:
    garbage = record([("ce_type", b"\xff")])
    letters = dead_letter_topic(GROUP, OTHER)
    good, alien = await put(kafka, letters, letter_of(2_000_001, topic=OTHER), garbage)
    async with desk(database, kafka) as at:
        first = await at.redrive(good, topic=OTHER)
        again = await at.redrive(good, topic=OTHER)
        with pytest.raises(InvalidInput, match="no dead letter"):
            await at.redrive(alien, topic=OTHER)
        with pytest.raises(NotFound):
            await at.redrive(alien + 1_000_000, topic=OTHER)

        assert (first.redriven, again.redriven) == (1, 0)
        assert await at.offsets() == [2_000_001]


async def test_the_newest_letters_are_listed_first_whatever_lies_among_them(kafka: str) -> None:
    topic = dead_letter_topic("registry.events", SERVING_DEPLOYMENTS.name)
    made = await put(kafka, topic, *(letter_of(number) for number in range(120)))
    await put(kafka, topic, record([("ce_type", b"\xff")]))
    await put_unreadable(kafka, topic)

    async with open_topic(kafka, topic) as letters:
        found = await letters.newest(110)

    assert [letter.offset for letter in found] == list(range(made[-1] + 2, made[-1] - 108, -1))
    assert found[1].header("ce_type") == "\N{REPLACEMENT CHARACTER}"
    assert found[2].header("dlt_original_offset") == "119"


async def test_a_list_of_letters_stops_at_its_budget(kafka: str) -> None:
    topic = dead_letter_topic(GROUP, ORCHESTRATOR_COMMANDS.name)
    made = await put(kafka, topic, *(record([], value=b"x" * 1000) for _ in range(120)))

    async with open_topic(kafka, topic) as letters:
        some = await letters.newest(100, budget=60_500)
        one = await letters.newest(100, budget=1)

    assert [letter.offset for letter in some] == made[:-61:-1]
    assert [letter.offset for letter in one] == made[-1:]


async def test_dead_letters_cannot_be_read_while_kafka_is_away() -> None:
    with pytest.raises(Transient, match="cannot be read"):
        async with open_topic("127.0.0.1:1", dead_letter_topic(GROUP, TOPIC)):
            raise AssertionError


async def test_only_the_first_record_of_a_key_is_tried_now(
    database: TestDatabase, kafka: str
) -> None:
    async with desk(database, kafka) as at:
        await at.park(10, 12, 14)
        await at.park(11, key=b"other")

        with pytest.raises(Conflict, match="which is at offset 10"):
            await at.retry(12)
        with pytest.raises(NotFound):
            await at.retry(13)
        assert await at.due() == []
        await at.retry(10)
        assert await at.due() == [10]


async def test_skipping_frees_the_next_record_of_the_key_and_is_counted(
    database: TestDatabase, kafka: str
) -> None:
    async with desk(database, kafka) as at:
        await at.park(10, 12, 14)

        await at.skip(12)
        behind = await at.due()
        await at.skip(10)
        first = await at.due()

    assert (behind, first) == ([], [14])
    assert at.metrics.dead_letters.labels(GROUP, TOPIC)._value.get() == 2


async def test_what_a_redriven_record_overtakes_waits_behind_it(
    database: TestDatabase, kafka: str
) -> None:
    async with desk(database, kafka) as at:
        await at.park(4_000_010, topic=OTHER)
        behind, before = letter_of(4_000_020, topic=OTHER), letter_of(4_000_001, topic=OTHER)
        for offset in await put(kafka, dead_letter_topic(GROUP, OTHER), behind, before):
            await at.redrive(offset, topic=OTHER)

        assert await at.due() == [4_000_001]
        assert await at.offsets("next_try = 'infinity'") == [4_000_010, 4_000_020]


class Door(BaseHTTPRequestHandler):
    """A front door behind which one service is away."""

    def do_GET(self) -> None:
        service = self.path.split("/")[2]
        away = service == "serving"
        key = {"group": f"{service}.events", "topic": "t", "partition": 0, "offset": 1}
        self.send_response(502 if away else 200)
        self.end_headers()
        self.wfile.write(b"" if away else json.dumps({"parked": [key]}).encode())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def front_door() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_parked_keys_of_the_others_are_shown_if_a_service_does_not_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with front_door() as url, pytest.raises(SystemExit) as ended:
        events.parked(url=url, json=True)
    said = capsys.readouterr()

    assert ended.value.code == 3
    assert [key["group"].split(".")[0] for key in json.loads(said.out)] == [
        service for service in events.SERVICES if service != "serving"
    ]
    assert "no answer from serving" in said.err.splitlines()[-1]
