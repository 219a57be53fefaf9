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


_MAKE_DUE = """
with asked as (
    select key from parked where grp=$1 and topic=$2 and part=$3 and kafka_offset=$4
), first as (
    select min(kafka_offset) as kafka_offset from parked join asked using (key)
    where grp=$1 and topic=$2 and part=$3
), made as (
    update parked set next_try=now() from first
    where grp=$1 and topic=$2 and part=$3 and parked.kafka_offset=$4
    and parked.kafka_offset=first.kafka_offset
)
select kafka_offset from first
"""


async def make_due(
    pool: asyncpg.Pool, *, group: str, place: TopicPartition, offset: int
) -> int | None:
    """Try a parked record now if it is the first of its key.

    Returns the offset of the first record of that key; None if nothing is parked at `offset`.
    """
    first: int | None = await pool.fetchval(_MAKE_DUE, group, *place, offset)
    return first


async def make_next_due(connection: Connection, group: str, gone: Parked) -> None:
    """Try now what waited behind a first record; nothing if another is still before it."""
    await connection.execute(
        "update parked set next_try=now()"
        " where grp=$1 and topic=$2 and part=$3 and kafka_offset > $5 and kafka_offset ="
        " (select min(kafka_offset) from parked where grp=$1 and topic=$2 and part=$3 and key=$4)",
        group,
        gone.topic,
        gone.partition,
        gone.key,
        gone.offset,
    )


async def wait_behind_first(connection: Connection, group: str, added: Parked) -> None:
    """Let all records of a key wait for the first one, after one was added out of turn."""
    await connection.execute(
        "update parked set next_try='infinity'"
        " where grp=$1 and topic=$2 and part=$3 and key=$4 and next_try < 'infinity'"
        " and kafka_offset >"
        " (select min(kafka_offset) from parked where grp=$1 and topic=$2 and part=$3 and key=$4)",
        group,
        added.topic,
        added.partition,
        added.key,
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
