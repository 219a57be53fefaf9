"""The outbox table: events that commit with the state they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import asyncpg

from headrace.runtime.bus.model import Outgoing
from headrace.runtime.db import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An outbox row together with the number it is published under."""

    number: int
    id: str
    topic: str
    key: str
    type: str
    payload: bytes
    headers: dict[str, str]


async def insert(connection: Connection, events: Sequence[Outgoing]) -> None:
    """Add events in the order given."""
    await connection.execute(
        "insert into outbox (id, aggregatetype, aggregateid, type, payload, headers)"
        " select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[],"
        " $6::jsonb[])",
        [event.id for event in events],
        [event.topic for event in events],
        [event.key for event in events],
        [event.type for event in events],
        [event.payload for event in events],
        [dict(event.headers) for event in events],
    )


async def incarnation(connection: Connection) -> str:
    """Identity of this outbox; a recreated database has another, so its numbers are its own."""
    return str(await connection.fetchval("select incarnation from outbox_source"))


async def take_batch(connection: Connection, *, limit: int) -> list[Stored]:
    """The batch to publish next: the unfinished one, else the lowest rows, written down first.

    The numbers of a batch are fixed by its row in `relay_batch`, in the same transaction, so
    a crash at any point publishes the same events under the same numbers again.
    """
    async with connection.transaction():
        if not await connection.fetchval("select exists(select from relay_batch)"):
            await connection.execute(_WRITE_DOWN, limit)
        rows = await connection.fetch(_READ_BATCH)
    return [_stored(row) for row in rows]


async def finish_batch(connection: Connection) -> None:
    """Forget the batch: every one of its events was acknowledged."""
    async with connection.transaction():
        await connection.execute(
            "delete from outbox using relay_batch where outbox.seq = any(relay_batch.seqs)"
        )
        await connection.execute("delete from relay_batch")


async def backlog(connection: Connection) -> tuple[int, datetime | None]:
    """Events not yet published (at most 100,000 are counted), and when the oldest was made."""
    row = await connection.fetchrow(
        "select count(*) as pending, min(created_at) as oldest"
        " from (select created_at from outbox order by seq limit 100000) as waiting"
    )
    return (row["pending"], row["oldest"]) if row else (0, None)


_WRITE_DOWN = """
with picked as (select seq from outbox order by seq limit $1),
batch as (select array_agg(seq order by seq) as seqs, count(*) as size from picked),
numbered as (
    update outbox_source set last_number = last_number + batch.size
    from batch where batch.size > 0
    returning last_number - batch.size + 1 as first_number
)
insert into relay_batch (first_number, seqs) select first_number, seqs from numbered, batch
"""

_READ_BATCH = """
select relay_batch.first_number + place.ordinality - 1 as number, outbox.id, aggregatetype,
    aggregateid, type, payload, headers
from relay_batch, unnest(relay_batch.seqs) with ordinality as place(seq, ordinality)
join outbox on outbox.seq = place.seq
order by place.ordinality
"""


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(
        number=row["number"],
        id=str(row["id"]),
        topic=row["aggregatetype"],
        key=row["aggregateid"],
        type=row["type"],
        payload=row["payload"],
        headers=cast("dict[str, str]", row["headers"]),
    )
