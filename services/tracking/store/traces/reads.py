"""Reading traces, with or without their spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import asyncpg
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.runtime.db import Connection
from services.tracking.domain.errors import no_trace
from services.tracking.domain.traces.blocks import spans_of
from services.tracking.domain.traces.entities import Trace, trace_artifact_root
from services.tracking.store.traces.assessments import list_assessments

COLUMNS = "trace.*, experiment.artifact_location"
TABLES = "trace join experiment using (experiment_id)"


async def get_trace(connection: Connection, *, project: str, trace_id: str) -> Trace:
    """A trace with its assessments. Raises NotFound."""
    found = await get_traces(connection, project=project, trace_ids=[trace_id])
    if not found:
        raise no_trace(trace_id)
    return found[0]


async def get_traces(
    connection: Connection,
    *,
    project: str,
    trace_ids: Sequence[str],
    experiments: Sequence[int] | None = None,
) -> list[Trace]:
    """Those of the traces that exist (in some experiments), in the order in which they are asked.

    None for `experiments` means all.
    """
    rows = await connection.fetch(
        f"select {COLUMNS} from {TABLES}"  # noqa: S608
        " where trace.project = $1 and trace_id = any($2::text[])"
        " and ($3::bigint[] is null or experiment_id = any($3))",
        project,
        list(trace_ids),
        experiments,
    )
    found = {row["trace_id"]: row for row in rows}
    return await with_assessments(
        connection, [found[one] for one in dict.fromkeys(trace_ids) if one in found]
    )


async def get_spans(connection: Connection, traces: Iterable[Trace]) -> dict[str, list[Span]]:
    """The spans of traces, the root first, then by start; traces without spans are left out."""
    wanted = {trace.trace_id for trace in traces}
    numbers = sorted({number for trace in traces for number in trace.blocks})
    bodies = await get_blocks(connection, numbers)
    return spans_of(bodies, wanted)


async def get_blocks(connection: Connection, numbers: Sequence[int]) -> list[bytes]:
    """Blocks in the order in which they were written."""
    if not numbers:
        return []
    rows = await connection.fetch(
        "select body from span_block where block_id = any($1::bigint[]) order by block_id",
        list(numbers),
    )
    return [row["body"] for row in rows]


async def with_assessments(connection: Connection, rows: Sequence[asyncpg.Record]) -> list[Trace]:
    """Rows of COLUMNS as traces."""
    traces = [trace_of(row) for row in rows]
    said = await list_assessments(connection, trace_ids=[trace.trace_id for trace in traces])
    return [replace(trace, assessments=said.get(trace.trace_id, ())) for trace in traces]


def trace_of(row: asyncpg.Record) -> Trace:
    """A row of COLUMNS."""
    return Trace(
        trace_id=row["trace_id"],
        experiment_id=str(row["experiment_id"]),
        artifact_root=trace_artifact_root(row["artifact_location"], row["trace_id"]),
        request_time=row["request_time"],
        execution_duration=row["execution_duration"],
        state=row["state"],
        name=row["name"],
        client_request_id=row["client_request_id"],
        request_preview=row["request_preview"],
        response_preview=row["response_preview"],
        metadata=row["metadata"],
        tags=row["tags"],
        blocks=row["blocks"],
    )
