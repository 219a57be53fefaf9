"""`ports.Ledger`: the bus's tables inside one PostgreSQL transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import asyncpg
from aiokafka import ConsumerRecord, TopicPartition

from headrace.runtime.bus.model import Outgoing
from headrace.runtime.bus.ports import Identity, Parked, Standing
from headrace.runtime.bus.postgres import verbatim
from headrace.runtime.db import Connection

_ADVANCE = """
with moved as (
    update consumer_offset set next_offset=$5, updated_at=now()
    where grp=$1 and topic=$2 and part=$3 and next_offset=$4 and next_offset < $5
    returning parked
), noted as (
    insert into source_seq (grp, topic, part, source, last_seq)
    select $1, $2, $3, source, last_seq
    from moved, unnest($6::text[], $7::text[]) as batch(source, last_seq)
    on conflict (grp, topic, part, source) do update set last_seq = excluded.last_seq
)
select parked from moved
"""

PARKED_COLUMNS = (
    "grp, topic, part, kafka_offset, key, value, headers, stamped_at, attempts, error,"
    " parked_at, next_try"
)


class PostgresLedger:
    """Named statements on one connection that is inside a transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """A nested transaction."""
        nested: AbstractAsyncContextManager[object] = self.connection.transaction()
        return nested

    async def advance(
        self, group: str, place: TopicPartition, *, standing: Standing, after: Standing
    ) -> int | None:
        """Compare-and-set; the row's lock is held from here to the commit."""
        changed = _changed(standing.seen, after.seen)
        parked: int | None = await self.connection.fetchval(
            _ADVANCE,
            group,
            *place,
            standing.held,
            after.held,
            [source.decode() for source in changed],
            [last.decode() for last in changed.values()],
        )
        return parked

    async def hold(self, group: str, place: TopicPartition) -> None:
        """Lock the partition's row."""
        await self.connection.execute(
            "select from consumer_offset where grp=$1 and topic=$2 and part=$3 for update",
            group,
            *place,
        )

    async def parked_keys(self, group: str, place: TopicPartition) -> Collection[bytes]:
        """A statement of its own: its snapshot is taken after the row's lock."""
        rows = await self.connection.fetch(
            "select distinct key from parked where grp=$1 and topic=$2 and part=$3", group, *place
        )
        return frozenset(row["key"] for row in rows)

    async def park(self, group: str, records: Sequence[Parked]) -> None:
        """Add records of one partition, and count them with it."""
        await self.connection.executemany(
            f"insert into parked ({PARKED_COLUMNS})"  # noqa: S608 - columns are ours
            " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            [_row(group, parked) for parked in records],
        )
        await self._count(group, TopicPartition(*_place(records[0])), len(records))

    async def first_parked(self, group: str, place: TopicPartition, key: bytes) -> Parked | None:
        """The lowest offset of the key."""
        row = await self.connection.fetchrow(
            f"select {PARKED_COLUMNS} from parked where grp=$1 and topic=$2 and part=$3 and key=$4"  # noqa: S608
            " order by kafka_offset limit 1",
            group,
            *place,
            key,
        )
        return None if row is None else parked_of(row)

    async def unpark(self, group: str, parked: Parked) -> None:
        """Delete the row, and count it off."""
        await self.connection.execute(
            "delete from parked where grp=$1 and topic=$2 and part=$3 and kafka_offset=$4",
            group,
            *_place(parked),
            parked.offset,
        )
        await self._count(group, TopicPartition(*_place(parked)), -1)

    async def postpone(
        self, group: str, parked: Parked, *, attempts: int, next_try: datetime, error: str
    ) -> None:
        """Try again later."""
        await self.connection.execute(
            "update parked set attempts=$5, next_try=$6, error=$7"
            " where grp=$1 and topic=$2 and part=$3 and kafka_offset=$4",
            group,
            *_place(parked),
            parked.offset,
            attempts,
            next_try,
            error,
        )

    async def claim(self, group: str, identities: Sequence[Identity]) -> Collection[Identity]:
        """Insert what is new; another transaction's insert of the same is waited for."""
        rows = await self.connection.fetch(
            "insert into inbox (grp, source, id, day)"
            " select $1, source, id, day from unnest($2::text[], $3::text[], $4::date[])"
            " as batch(source, id, day) order by source, id, day"
            " on conflict do nothing returning source, id, day",
            group,
            [identity.source for identity in identities],
            [identity.id for identity in identities],
            [identity.day for identity in identities],
        )
        return {Identity(source=row["source"], id=row["id"], day=row["day"]) for row in rows}

    async def emit(self, events: Sequence[Outgoing]) -> None:
        """Add outbox rows."""
        await self.connection.execute(
            "insert into outbox (id, aggregatetype, aggregateid, type, payload, headers, verbatim)"
            " select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[],"
            " $6::jsonb[], $7::json[])",
            [event.id for event in events],
            [event.topic for event in events],
            [event.key for event in events],
            [event.type for event in events],
            [event.payload for event in events],
            [dict(event.headers) for event in events],
            [verbatim.kept(event.verbatim) for event in events],
        )

    async def _count(self, group: str, place: TopicPartition, change: int) -> None:
        await self.connection.execute(
            "update consumer_offset set parked=parked+$4 where grp=$1 and topic=$2 and part=$3",
            group,
            *place,
            change,
        )


def parked_of(row: asyncpg.Record) -> Parked:
    """A row of `parked` with its record as Kafka gave it."""
    names, values = row["headers"][::2], row["headers"][1::2]
    record = ConsumerRecord(
        topic=row["topic"],
        partition=row["part"],
        offset=row["kafka_offset"],
        timestamp=row["stamped_at"],
        timestamp_type=0,
        key=row["key"] or None,
        value=row["value"],
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple((name.decode(), value) for name, value in zip(names, values, strict=True)),
    )
    return Parked(
        topic=row["topic"],
        partition=row["part"],
        offset=row["kafka_offset"],
        key=row["key"],
        record=record,
        attempts=row["attempts"],
        error=row["error"],
        parked_at=row["parked_at"],
        next_try=row["next_try"],
    )


def _row(group: str, parked: Parked) -> tuple[object, ...]:
    record = parked.record
    headers = [part for name, value in record.headers for part in (name.encode(), value)]
    return (
        group,
        *_place(parked),
        parked.offset,
        parked.key,
        record.value,
        headers,
        record.timestamp,
        parked.attempts,
        parked.error,
        parked.parked_at,
        parked.next_try,
    )


def _place(parked: Parked) -> tuple[str, int]:
    return parked.topic, parked.partition


def _changed(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {source: last for source, last in after.items() if before.get(source) != last}
