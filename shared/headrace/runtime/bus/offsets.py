"""Offsets and sequence numbers as PostgreSQL keeps them, in the transaction of the effects."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.runtime.db import Connection


async def held_offset(connection: Connection, *, group: str, topic: str, part: int) -> int | None:
    """Where this group goes on in a partition; None if it never began."""
    found: int | None = await connection.fetchval(
        "select next_offset from consumer_offset where grp=$1 and topic=$2 and part=$3",
        group,
        topic,
        part,
    )
    return found


async def begin(connection: Connection, *, group: str, topic: str, part: int, offset: int) -> int:
    """Note where a group begins in a partition; returns what holds, also if another was first."""
    await connection.execute(
        "insert into consumer_offset (grp, topic, part, next_offset) values ($1, $2, $3, $4)"
        " on conflict do nothing",
        group,
        topic,
        part,
        offset,
    )
    held = await held_offset(connection, group=group, topic=topic, part=part)
    return offset if held is None else held


async def advance(
    connection: Connection, *, group: str, topic: str, part: int, held: int, after: int
) -> bool:
    """Compare-and-set the offset; False means another owner moved it: roll back and drop."""
    moved: str = await connection.execute(
        "update consumer_offset set next_offset=$5, updated_at=now()"
        " where grp=$1 and topic=$2 and part=$3 and next_offset=$4",
        group,
        topic,
        part,
        held,
        after,
    )
    return moved == "UPDATE 1"


async def seen_sequences(
    connection: Connection, *, group: str, topic: str, part: int
) -> dict[str, str]:
    """Highest sequence handled from each source in a partition."""
    rows = await connection.fetch(
        "select source, last_seq from source_seq where grp=$1 and topic=$2 and part=$3",
        group,
        topic,
        part,
    )
    return {row["source"]: row["last_seq"] for row in rows}


async def note_sequences(
    connection: Connection, *, group: str, topic: str, part: int, seen: Mapping[str, str]
) -> None:
    """Remember the highest sequences of a batch."""
    await connection.execute(
        "insert into source_seq (grp, topic, part, source, last_seq)"
        " select $1, $2, $3, source, last_seq from unnest($4::text[], $5::text[])"
        " as batch(source, last_seq)"
        " on conflict (grp, topic, part, source) do update set last_seq = excluded.last_seq",
        group,
        topic,
        part,
        list(seen.keys()),
        list(seen.values()),
    )
