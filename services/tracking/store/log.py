"""The log of runs: writes of many calls are added to it by a few statements.

An entry is durable, and part of what every reader sees, as soon as it is here. Folding
(`services.tracking.store.folding`) then brings it into summaries and tells of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.chunks import Chunk, decode
from services.tracking.domain.entries import Entry, told_of
from services.tracking.domain.points import Columns, Point
from services.tracking.store.pairs import refusal, write_pairs

Outcome = Exception | None
"""Of one entry: why it was refused, or None if it is applied, now or by an earlier write."""

_APPEND = """
with given as (
    select * from unnest($2::text[], $3::bytea[], $4::text[], $5::int[], $6::bigint[], $7::bigint[],
        $8::smallint[], $9::bytea[], $10::boolean[], $11::jsonb[], $13::bytea[]) with ordinality
        as given (run_id, digest, keys, points, first_timestamp, last_timestamp, codec, body,
            large, told, name, place)
), home as (
    select run_id, lifecycle_stage, stop_requested_at from run
    where project = $1 and run_id = any($12::text[])
), welcome as (
    select given.* from given join home using (run_id)
    where lifecycle_stage = 'active' and stop_requested_at is null
), fresh as (
    insert into metric_write (run_id, digest, name)
    select run_id, digest, name from welcome where large order by place
    on conflict (run_id, digest) do nothing
    returning run_id, digest
), numbered as (
    select distinct on (run_id, digest) welcome.*,
        nextval('metric_chunk_chunk_id_seq') as chunk_id
    from welcome join fresh using (run_id, digest)
    order by run_id, digest, place
), chunked as (
    insert into metric_chunk (chunk_id, run_id, keys, points, first_timestamp, last_timestamp,
        codec, body)
    overriding system value
    select chunk_id, run_id, string_to_array(keys, chr(10)), points, first_timestamp,
        last_timestamp, codec, body
    from numbered order by chunk_id
), logged as (
    insert into run_log (run_id, digest, points, chunk_id, keys, codec, body, told)
    select run_id, digest, points, chunk_id,
        case when not large then keys end, case when not large then codec end,
        case when not large then body end, told
    from welcome left join (select run_id, digest, chunk_id from numbered) as given_chunk
        using (run_id, digest)
    where chunk_id is not null or not large
    order by place
    on conflict (run_id, digest) do nothing
    returning log_id, run_id, digest
)
select run_id, lifecycle_stage, stop_requested_at, null::bigint as log_id, null::bytea as digest
from home
union all
select run_id, null, null, log_id, digest from logged
"""

_APPEND_ONE = """
with home as (
    select lifecycle_stage, stop_requested_at from run where project = $1 and run_id = $2
), logged as (
    insert into run_log (run_id, digest, points, keys, codec, body, told)
    select $2, $3, $4, $5, $6, $7, $8 from home
    where lifecycle_stage = 'active' and stop_requested_at is null
    on conflict (run_id, digest) do nothing
    returning log_id
)
select home.*, logged.log_id from home left join logged on true
"""


WITH_POINTS: Final = """
select log_id, run_log.run_id,
    coalesce(run_log.keys, array_to_string(chunk.keys, chr(10))) as keys,
    coalesce(run_log.codec, chunk.codec) as codec, coalesce(run_log.body, chunk.body) as body
from run_log left join metric_chunk as chunk using (chunk_id)
"""
"""Entries with their points, wherever those lie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Appended:
    """What became of the entries, in their order, and where their points stand in the log."""

    outcomes: Sequence[Outcome]
    points: Mapping[int, Columns | Point]


def needs_transaction(entries: Sequence[Entry]) -> bool:
    """Whether appending takes more than one statement."""
    return any(entry.params or entry.tags for entry in entries)


async def append(
    connection: Connection, entries: Sequence[Entry], *, project: str, wait: bool = True
) -> Appended:
    """Add entries, each of them whole or not at all.

    A repetition is taken and changes nothing. The connection must be inside a transaction if
    `needs_transaction`. Without `wait`, the outcome of an entry whose params or tags would have to
    wait for another transaction is RunHeld.
    """
    if len(entries) == 1 and (chunk := _plain_chunk(entries[0])) is not None:
        return await _append_one(connection, entries[0], chunk, project=project)
    outcomes: list[Outcome] = [None] * len(entries)
    fresh = dict(enumerate(entries))
    if needs_transaction(entries):
        refused, fresh = await write_pairs(connection, entries, project=project, wait=wait)
        for place, error in refused.items():
            outcomes[place] = error
    run_ids = list({entry.run_id for entry in fresh.values()})
    *columns, names = _columns_of(fresh.values())
    rows = await connection.fetch(_APPEND, project, *columns, run_ids, names)
    states = {row["run_id"]: row for row in rows if row["log_id"] is None}
    for place, entry in fresh.items():
        outcomes[place] = refusal(entry.run_id, states.get(entry.run_id))
    return Appended(outcomes=outcomes, points=_standing(rows, fresh.values()))


async def _append_one(
    connection: Connection, entry: Entry, chunk: Chunk, *, project: str
) -> Appended:
    """A lonely write of few points: one by one they are most of what is written."""
    row = await connection.fetchrow(
        _APPEND_ONE,
        project,
        entry.run_id,
        chunk.digest,
        chunk.points,
        "\n".join(chunk.keys),
        chunk.codec,
        chunk.body,
        told_of({}, {}, entry.chain),
    )
    appended = {row["log_id"]: entry.points} if row is not None and row["log_id"] else {}
    return Appended(
        outcomes=[refusal(entry.run_id, row)],
        points={log_id: points for log_id, points in appended.items() if points is not None},
    )


async def latest_writes(connection: Connection, *, limit: int) -> list[tuple[bytes, str]]:
    """Names of the latest requests that were taken, and their runs, the oldest first."""
    rows = await connection.fetch(
        "select name, run_id from metric_write where name is not null"
        " order by write_id desc limit $1",
        limit,
    )
    return [(row["name"], row["run_id"]) for row in reversed(rows)]


async def pending(connection: Connection, run_ids: Sequence[str]) -> dict[str, list[Columns]]:
    """Points of these runs that are in the log and not in summaries, write by write."""
    rows = await connection.fetch(
        f"{WITH_POINTS} where run_log.run_id = any($1) and run_log.digest is not null"
        " order by log_id",
        list(run_ids),
    )
    found: dict[str, list[Columns]] = {}
    for row in rows:
        found.setdefault(row["run_id"], []).append(columns_of_row(row))
    return found


async def small_parts(connection: Connection, *, run_id: str, key: str) -> list[Columns]:
    """Points of a run's writes that have no chunk yet; of those that bring the key at all."""
    rows = await connection.fetch(
        "select keys, codec, body from run_log where run_id = $1 and keys is not null"
        " and $2 = any(string_to_array(keys, chr(10)))",
        run_id,
        key,
    )
    return [columns_of_row(row) for row in rows]


def columns_of_row(row: asyncpg.Record) -> Columns:
    """The points of a row that has keys (one a line), codec and body."""
    return decode(keys=tuple(row["keys"].split("\n")), codec=row["codec"], body=row["body"])


def _plain_chunk(entry: Entry) -> Chunk | None:
    """The points of an entry that brings few of them and nothing else."""
    return None if entry.is_large or entry.params or entry.tags else entry.chunk


def _columns_of(entries: Iterable[Entry]) -> tuple[list[object], ...]:
    """Rows of the log, column by column; points and pairs of an entry are rows of their own.

    So a repetition of the points alone does not keep new pairs from being told.
    """
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        if entry.chunk is not None:
            rows.append(_points_row(entry, entry.chunk))
        if entry.params or entry.tags:
            rows.append(_pairs_row(entry))
    return tuple(map(list, zip(*rows, strict=True))) if rows else _NO_ROWS


_NO_ROWS: Final[tuple[list[object], ...]] = tuple([] for _ in range(11))


def _points_row(entry: Entry, chunk: Chunk) -> tuple[object, ...]:
    return (
        entry.run_id,
        chunk.digest,
        "\n".join(chunk.keys),
        chunk.points,
        chunk.first_timestamp,
        chunk.last_timestamp,
        chunk.codec,
        chunk.body,
        entry.is_large,
        told_of({}, {}, entry.chain),
        entry.name,
    )


def _pairs_row(entry: Entry) -> tuple[object, ...]:
    told = told_of(entry.params, entry.tags, entry.chain)
    return (entry.run_id, None, None, None, None, None, None, None, False, told, None)


def _standing(
    rows: Sequence[asyncpg.Record], entries: Iterable[Entry]
) -> dict[int, Columns | Point]:
    """Points by their place in the log, to be folded without reading them again."""
    log_ids = {
        (row["run_id"], row["digest"]): row["log_id"] for row in rows if row["digest"] is not None
    }
    found: dict[int, Columns | Point] = {}
    for entry in entries:
        if entry.chunk is not None and entry.points is not None:
            log_id = log_ids.get((entry.run_id, entry.chunk.digest))
            if log_id is not None:
                found[log_id] = entry.points
    return found
