"""Deleting traces, and their spans out of the blocks that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.runtime.db import Connection
from services.tracking.domain.traces.blocks import without

AT_ONCE: Final = 500
"""How many traces one transaction deletes at most."""


async def delete_traces(
    connection: Connection,
    *,
    project: str,
    experiment: int,
    trace_ids: Sequence[str] | None,
    until_ms: int | None,
    most: int,
) -> int:
    """Delete the oldest of an experiment's traces that are named or old enough; how many.

    None means not restricted. At most AT_ONCE are deleted.
    """
    rows = await connection.fetch(
        """
        delete from trace where trace_id = any(array(
            select trace_id from trace where trace_id = any(array(
                select trace_id from trace
                where project = $1 and experiment_id = $2
                    and ($3::text[] is null or trace_id = any($3))
                    and ($4::bigint is null or request_time <= $4)
                order by request_time, trace_id limit $5
            ))
            order by trace_id for update  -- the order in which writers lock them
        ))
        returning trace_id, blocks
        """,
        project,
        experiment,
        trace_ids,
        until_ms,
        min(most, AT_ONCE),
    )
    gone = [row["trace_id"] for row in rows]
    await _drop_spans(
        connection, gone, sorted({number for row in rows for number in row["blocks"]})
    )
    return len(gone)


async def _drop_spans(
    connection: Connection, trace_ids: Sequence[str], numbers: Sequence[int]
) -> None:
    for number in numbers:
        body = await connection.fetchval(
            "select body from span_block where block_id = $1 for update", number
        )
        if body is None:
            continue
        left = without(body, trace_ids)
        if left is None:
            await connection.execute("delete from span_block where block_id = $1", number)
        else:
            await connection.execute(
                "update span_block set body = $2 where block_id = $1", number, left
            )
