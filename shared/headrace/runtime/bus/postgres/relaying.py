"""`ports.RelaySession`: one connection that holds the leader's lock and writes what it publishes.

Every statement runs on the session of the advisory lock: once that session is gone nothing more
can be written down, so no number is ever given to two events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import asyncpg
import orjson

from headrace.runtime.bus.ports import RelayBatch, Stored
from headrace.runtime.bus.postgres import verbatim

_TURN = """
with swept as (
    delete from outbox where seq = any($1::bigint[])
), forgotten as (
    delete from relay_batch where first_number = any($2::bigint[])
), lowest as (
    select * from outbox where seq <> all($3::bigint[]) order by seq limit $4
), measured as (
    select *, sum(coalesce(octet_length(payload), 0)) over (order by seq)
        - coalesce(octet_length(payload), 0) as bytes_before
    from lowest
), picked as materialized (
    select seq, id, aggregatetype, aggregateid, type, payload, headers::text, verbatim::text
    from measured where bytes_before < 16777216
), size as (
    select count(*) as rows from picked
), numbered as (
    update outbox_source set last_number = last_number + size.rows
    from size where size.rows > 0
    returning last_number - size.rows + 1 as first_number
), noted as (
    insert into relay_batch (first_number, seqs)
    select first_number, (select array_agg(seq order by seq) from picked) from numbered
)
select numbered.first_number, picked.* from picked, numbered order by seq
"""
"""One statement, so one commit: what was published is forgotten with the next batch's numbers.

$1 rows and $2 batches that are finished; $3 rows that may not be taken: finished or under way.
A batch is as many rows as $4, or as begin within its first 16 MiB.
"""

_UNFINISHED = """
select first_number, outbox.seq, id, aggregatetype, aggregateid, type, payload, headers::text,
    verbatim::text
from relay_batch, unnest(seqs) with ordinality as place(seq, ordinality)
join outbox on outbox.seq = place.seq
order by first_number, place.ordinality
"""


class PostgresRelaySession:
    """The relay's own connection; anything it raises ends the leadership."""

    def __init__(self, connection: asyncpg.Connection, *, lock: str) -> None:
        self._connection = connection
        self._lock = lock
        self._under_way: dict[int, list[int]] = {}

    async def listen(self, channel: str, told: Callable[[], None]) -> None:
        """Hear of commits in other processes; plan hot statements anew, for their arrays' sizes."""
        await self._connection.execute("set plan_cache_mode = force_custom_plan")
        await self._connection.add_listener(channel, lambda *_: told())

    async def lead(self) -> bool:
        """Try for the lock."""
        got: bool = await self._connection.fetchval(
            "select pg_try_advisory_lock(hashtext($1))", self._lock
        )
        return got

    async def incarnation(self) -> str:
        """Made with the table."""
        return str(await self._connection.fetchval("select incarnation from outbox_source"))

    async def unfinished(self) -> Sequence[RelayBatch]:
        """What a leader before us may or may not have published."""
        rows = await self._connection.fetch(_UNFINISHED)
        firsts = dict.fromkeys(row["first_number"] for row in rows)
        batches = [
            RelayBatch(
                first=first, rows=[_stored(row) for row in rows if row["first_number"] == first]
            )
            for first in firsts
        ]
        self._under_way = {batch.first: [row.seq for row in batch.rows] for batch in batches}
        return batches

    async def turn(self, finished: Sequence[RelayBatch], *, limit: int) -> RelayBatch | None:
        """One statement in a transaction of its own."""
        swept = [seq for batch in finished for seq in self._under_way[batch.first]]
        held = [seq for seqs in self._under_way.values() for seq in seqs]
        firsts = [batch.first for batch in finished]
        rows = await self._connection.fetch(_TURN, swept, firsts, held, limit)
        for first in firsts:
            del self._under_way[first]
        if not rows:
            return None
        batch = RelayBatch(first=rows[0]["first_number"], rows=[_stored(row) for row in rows])
        self._under_way[batch.first] = [row.seq for row in batch.rows]
        return batch

    async def heartbeat(self) -> None:
        """Say something."""
        await self._connection.execute("select 1")

    async def backlog(self) -> tuple[int, datetime | None]:
        """Count what waits."""
        row = await self._connection.fetchrow(
            "select count(*) as pending, min(created_at) as oldest"
            " from (select created_at from outbox order by seq limit 100000) as waiting"
        )
        return (row["pending"], row["oldest"]) if row else (0, None)


async def close(connection: asyncpg.Connection) -> None:
    """Close politely, else at once."""
    try:
        await connection.close(timeout=1)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(
        seq=row["seq"],
        id=str(row["id"]),
        topic=row["aggregatetype"],
        key=row["aggregateid"],
        type=row["type"],
        payload=row["payload"],
        headers=orjson.loads(row["headers"]),
        verbatim=verbatim.read(row["verbatim"]),
    )
