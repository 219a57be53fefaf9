"""SQL of parked records for the people who look after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from aiokafka import TopicPartition

from headrace.runtime.bus.ports import Parked
from headrace.runtime.bus.postgres.ledger import PARKED_COLUMNS, parked_of
from headrace.runtime.db import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedKey:
    """One key that waits: `offset` and `error` are of its first record."""

    group: str
    topic: str
    partition: int
    key: str
    offset: int
    records: int
    attempts: int
    error: str
    parked_at: datetime
    next_try: datetime


async def keys(pool: asyncpg.Pool) -> Sequence[ParkedKey]:
    """Keys with their first record, the longest waiting first; at most 1,000."""
    rows = await pool.fetch(
        "select distinct on (grp, topic, part, key) grp, topic, part, key, kafka_offset, attempts,"
        " error, parked_at, next_try,"
        " count(*) over (partition by grp, topic, part, key) as records"
        " from parked order by grp, topic, part, key, kafka_offset limit 1000"
    )
    found = [
        ParkedKey(
            group=row["grp"],
            topic=row["topic"],
            partition=row["part"],
            key=row["key"].decode(errors="replace"),
            offset=row["kafka_offset"],
            records=row["records"],
            attempts=row["attempts"],
            error=row["error"],
            parked_at=row["parked_at"],
            next_try=row["next_try"],
        )
        for row in rows
    ]
    return sorted(found, key=lambda key: key.parked_at)


async def totals(pool: asyncpg.Pool, group: str) -> tuple[int, int]:
    """How many keys wait, and how many records."""
    row = await pool.fetchrow(
        "select count(distinct (topic, part, key)) as keys, count(*) as records"
        " from parked where grp=$1",
        group,
    )
    return (row["keys"], row["records"]) if row else (0, 0)


async def make_due(pool: asyncpg.Pool, *, group: str, topic: str, part: int, offset: int) -> bool:
    """Try a parked record now; False if there is none at that offset."""
    done: str = await pool.execute(
        "update parked set next_try=now()"
        " where grp=$1 and topic=$2 and part=$3 and kafka_offset=$4",
        group,
        topic,
        part,
        offset,
    )
    return done == "UPDATE 1"


async def make_key_due(
    connection: Connection, *, group: str, place: TopicPartition, key: bytes
) -> None:
    """Try whatever waits of a key now."""
    await connection.execute(
        "update parked set next_try=now() where grp=$1 and topic=$2 and part=$3 and key=$4",
        group,
        *place,
        key,
    )


async def one(
    connection: Connection, *, group: str, place: TopicPartition, offset: int
) -> Parked | None:
    """A parked record by its offset."""
    row = await connection.fetchrow(
        f"select {PARKED_COLUMNS} from parked"  # noqa: S608 - columns are ours
        " where grp=$1 and topic=$2 and part=$3 and kafka_offset=$4",
        group,
        *place,
        offset,
    )
    return None if row is None else parked_of(row)


async def note_redriven(connection: Connection, topic: str, offset: int, by: str) -> bool:
    """Whether this is the first time that a dead letter is put back to work."""
    done: str = await connection.execute(
        "insert into redriven (topic, part, kafka_offset, redriven_by) values ($1, 0, $2, $3)"
        " on conflict do nothing",
        topic,
        offset,
        by,
    )
    return done == "INSERT 0 1"
