"""What is found in the databases: effects, outboxes, offsets; and whether the bus is at rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer

from headrace.events.topics import GROUPS
from tests.faults import log
from tests.faults.worker import FIRST, SECOND
from tests.harness.history import Effect, OffsetSnapshot

SCHEMAS: Final = ("registry", "orchestrator")
_OFFSETS: Final = """
select grp, topic, part, next_offset from registry.consumer_offset
union all select grp, topic, part, next_offset from orchestrator.consumer_offset
"""
_PENDING: Final = """
select (select count(*) from registry.outbox) + (select count(*) from orchestrator.outbox)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The tables of one round, in the order of their rows."""

    written: Sequence[Effect]
    first: Sequence[Effect]
    second: Sequence[Effect]
    follow_ups: frozenset[str]
    pending_own: frozenset[str]
    pending_follow_ups: frozenset[str]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection past every proxy; waits for a database that is coming up."""
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await asyncpg.connect(url, timeout=5)
                break
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.1)
    try:
        yield connection
    finally:
        await connection.close(timeout=2)


async def find(connection: asyncpg.Connection, name: str) -> Found:
    """Everything that the round of this name left."""
    return Found(
        written=await _effects(connection, "registry.written", name),
        first=await _effects(connection, "orchestrator.effect", name),
        second=await _effects(connection, "registry.effect", name),
        follow_ups=await _ids(
            connection,
            "select follow_up from orchestrator.effect where key like $1 || '-%'",
            name,
        ),
        pending_own=await _pending(connection, "registry.outbox", name),
        pending_follow_ups=await _pending(connection, "orchestrator.outbox", name),
    )


async def at_rest(connection: asyncpg.Connection, client: AIOKafkaConsumer) -> list[str]:
    """What still moves: outbox rows and partitions that a group has not read to the end."""
    pending = await connection.fetchval(_PENDING)
    held = {
        (row["grp"], row["topic"], row["part"]): row["next_offset"]
        for row in await connection.fetch(_OFFSETS)
    }
    moving = [f"{pending} outbox rows"] if pending else []
    for place, end in (await log.ends(client)).items():
        for group in (FIRST, SECOND):
            if place.topic not in {topic.name for topic in GROUPS[group]}:
                continue
            behind = end - held.get((group, place.topic, place.partition), 0)
            if behind > 0:
                moving.append(f"{group} is {behind} behind in {place.topic}/{place.partition}")
    return moving + await _parked(connection)


async def count_effects(connection: asyncpg.Connection) -> Mapping[str, int]:
    """Effects of both groups by the name of their round."""
    rows = await connection.fetch(
        "select split_part(key, '-', 1) as name, count(*) as effects"
        " from (select key from orchestrator.effect union all select key from registry.effect) as e"
        " group by 1"
    )
    return {row["name"]: row["effects"] for row in rows}


async def marks(connection: asyncpg.Connection) -> Mapping[str, int]:
    """The last move of an offset in each schema, for `moves`."""
    return {
        schema: await connection.fetchval(
            f"select coalesce(max(n), 0) from {schema}.offset_move"  # noqa: S608
        )
        for schema in SCHEMAS
    }


async def moves(connection: asyncpg.Connection, since: Mapping[str, int]) -> list[OffsetSnapshot]:
    """Every move of a stored offset since the marks, in the order of commits per partition."""
    return [
        OffsetSnapshot(
            group=row["grp"],
            topic=row["topic"],
            partition=row["part"],
            offset=row["next_offset"],
        )
        for schema in SCHEMAS
        for row in await connection.fetch(
            f"select * from {schema}.offset_move where n > $1 order by n",  # noqa: S608
            since[schema],
        )
    ]


async def _effects(connection: asyncpg.Connection, table: str, name: str) -> list[Effect]:
    rows = await connection.fetch(
        f"select id, key from {table} where key like $1 || '-%' order by n",  # noqa: S608
        name,
    )
    return [Effect(id=row["id"], key=row["key"]) for row in rows]


async def _pending(connection: asyncpg.Connection, table: str, name: str) -> frozenset[str]:
    return await _ids(
        connection,
        f"select id::text from {table} where aggregateid like $1 || '-%'",  # noqa: S608
        name,
    )


async def _ids(connection: asyncpg.Connection, query: str, name: str) -> frozenset[str]:
    return frozenset(row[0] for row in await connection.fetch(query, name))


async def _parked(connection: asyncpg.Connection) -> list[str]:
    moving = []
    for schema in SCHEMAS:
        table = f"{schema}.parked"
        if await connection.fetchval("select to_regclass($1)", table) is None:
            continue
        count = await connection.fetchval(f"select count(*) from {table}")  # noqa: S608
        if count:
            moving.append(f"{count} records parked in {schema}")
    return moving
