"""Micro-batches of predictions as logged, and the index from prediction ids to their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.runtime.db import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class NewBatch:
    """A micro-batch on its way into the store; `payload` is the PredictionLogged message.

    `counted` has one bit a row, numpy.packbits: the rows that count in the statistics of
    `days`. `last_day` is the last of any row.
    """

    version: int
    last_day: int
    counted: bytes
    days: Sequence[int]
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredBatch:
    """A micro-batch; `counted` has one bit a row, numpy.packbits."""

    batch_id: int
    counted: bytes
    payload: bytes


async def add_batches(
    connection: Connection, model_id: int, batches: Sequence[NewBatch]
) -> list[int]:
    """Store micro-batches; returns their ids, ascending in the order given."""
    rows = await connection.fetch(
        """
        insert into prediction_batch (model_id, version, last_day, counted, days, payload)
        select $1, version, last_day, counted, string_to_array(days, ' ')::integer[], payload
        from unnest($2::bigint[], $3::integer[], $4::bytea[], $5::text[], $6::bytea[])
            with ordinality as batch(version, last_day, counted, days, payload, place)
        order by place
        returning batch_id
        """,
        model_id,
        [batch.version for batch in batches],
        [batch.last_day for batch in batches],
        [batch.counted for batch in batches],
        [" ".join(map(str, batch.days)) for batch in batches],
        [batch.payload for batch in batches],
    )
    return sorted(row["batch_id"] for row in rows)


async def add_predictions(
    connection: Connection,
    model_id: int,
    *,
    prediction_ids: Sequence[str],
    batch_ids: Sequence[int],
    row_numbers: Sequence[int],
    open_days: Sequence[int],
) -> int:
    """Index rows; ids that are known already, or stand twice, keep their first place.

    Returns how many were new.
    """
    status: str = await connection.execute(
        """
        insert into prediction (model_id, prediction_id, batch_id, row_number, open_day)
        select $1, * from unnest($2::text[], $3::bigint[], $4::integer[], $5::integer[])
        on conflict do nothing
        """,
        model_id,
        prediction_ids,
        batch_ids,
        row_numbers,
        open_days,
    )
    return int(status.rpartition(" ")[2])


async def rows_of(connection: Connection, batch_ids: Sequence[int]) -> list[tuple[int, int]]:
    """(batch, row) of every prediction that has its place in these batches."""
    rows = await connection.fetch(
        "select batch_id, row_number from prediction where batch_id = any($1::bigint[])", batch_ids
    )
    return [(row["batch_id"], row["row_number"]) for row in rows]


async def mark_counted(
    connection: Connection, batch_id: int, *, counted: bytes, days: Sequence[int]
) -> None:
    """Say anew which rows count in the statistics of which days."""
    await connection.execute(
        "update prediction_batch set counted=$2, days=$3 where batch_id=$1",
        batch_id,
        counted,
        days,
    )


async def forget_batches(connection: Connection, batch_ids: Sequence[int]) -> None:
    """Drop micro-batches that no prediction lies in."""
    await connection.execute(
        "delete from prediction_batch where batch_id = any($1::bigint[])", batch_ids
    )


async def batches_of_day(connection: Connection, model_id: int, day: int) -> list[int]:
    """Ids of the micro-batches with rows that count on an event-day, in stream order."""
    rows = await connection.fetch(
        "select batch_id from prediction_batch"
        " where model_id=$1 and last_day >= $2 and $2 = any(days) order by batch_id",
        model_id,
        day,
    )
    return [row["batch_id"] for row in rows]


async def load_batches(connection: Connection, batch_ids: Sequence[int]) -> list[StoredBatch]:
    """Micro-batches in stream order."""
    rows = await connection.fetch(
        "select batch_id, counted, payload from prediction_batch"
        " where batch_id = any($1::bigint[]) order by batch_id",
        batch_ids,
    )
    return [StoredBatch(**dict(row)) for row in rows]


async def prune(connection: Connection, model_id: int, *, before_day: int) -> None:
    """Forget micro-batches that ended before a day, and the predictions in them."""
    rows = await connection.fetch(
        "delete from prediction_batch where model_id=$1 and last_day < $2 returning batch_id",
        model_id,
        before_day,
    )
    if rows:
        await connection.execute(
            "delete from prediction where batch_id = any($1::bigint[])",
            [row["batch_id"] for row in rows],
        )
