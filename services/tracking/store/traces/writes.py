"""Writing traces: whole groups of requests at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson

from headrace.runtime.db import Connection
from services.tracking.domain.errors import inactive_experiment, no_experiment
from services.tracking.domain.traces.blocks import pack
from services.tracking.domain.traces.otlp import SpanBatch
from services.tracking.domain.traces.sketch import TraceSketch
from services.tracking.store.traces.links import link_traces

_WRITE_SPANS: Final = """
with block as (
    insert into span_block (project, requests, body) values ($1, $2, $3) returning block_id
)
insert into trace (trace_id, project, experiment_id, request_time, execution_duration, state,
    name, request_preview, response_preview, metadata, tags, blocks)
select given.trace_id, $1, given.experiment_id, given.request_time, given.execution_duration,
    given.state, given.name, given.request_preview, given.response_preview,
    given.metadata::jsonb, given.tags::jsonb, array[block.block_id]
from block, unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[])
    as given (trace_id, experiment_id, request_time, execution_duration, state, name,
        request_preview, response_preview, metadata, tags)
on conflict (trace_id) do update set
    request_time = case when trace.finalized then trace.request_time
        else least(trace.request_time, excluded.request_time) end,
    execution_duration = case when trace.finalized then trace.execution_duration
        else greatest(trace.request_time + trace.execution_duration,
                excluded.request_time + excluded.execution_duration)
            - least(trace.request_time, excluded.request_time) end,
    state = case when trace.state in ('IN_PROGRESS', 'STATE_UNSPECIFIED')
        then excluded.state else trace.state end,
    name = coalesce(trace.name, excluded.name),
    request_preview = coalesce(trace.request_preview, excluded.request_preview),
    response_preview = coalesce(trace.response_preview, excluded.response_preview),
    metadata = excluded.metadata || trace.metadata,
    tags = excluded.tags || trace.tags,
    blocks = trace.blocks || excluded.blocks
where trace.project = excluded.project
"""

_KNOWN: Final = """
select given.digest from unnest($1::text[], $2::bigint[]) as given (trace_id, digest)
where exists (
    select from trace join span_block on span_block.block_id = any(trace.blocks)
    where trace.trace_id = given.trace_id and given.digest = any(span_block.requests)
)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanWrite:
    """A request's spans, the experiment they go to, and the run whose traces these are."""

    experiment: int
    batch: SpanBatch
    run_id: str | None = None


async def write_spans(
    pool: asyncpg.Pool, writes: Sequence[SpanWrite], *, project: str
) -> list[Exception | None]:
    """Make spans durable, and their traces with them: one block for all.

    A request that came before changes nothing. Returns for each None, or what is wrong with its
    experiment.
    """
    async with pool.acquire() as connection:
        stages = await experiment_stages(
            connection, project=project, experiments={write.experiment for write in writes}
        )
        results = [trouble(stages, write.experiment) for write in writes]
        good = [write for write, wrong in zip(writes, results, strict=True) if wrong is None]
        fresh = await _fresh(connection, good)
        linked = [write for write in good if write.run_id is not None]
        if not linked:
            await _write_block(connection, fresh, project=project)
            return results
        async with connection.transaction():
            await _write_block(connection, fresh, project=project)
            for write in linked:
                await link_traces(
                    connection,
                    project=project,
                    run_id=write.run_id or "",
                    trace_ids=_finished_traces(write.batch),
                )
        return results


async def experiment_stages(
    connection: Connection, *, project: str, experiments: set[int]
) -> dict[int, str]:
    """The lifecycle stage of each experiment that exists."""
    rows = await connection.fetch(
        "select experiment_id, lifecycle_stage from experiment"
        " where project = $1 and experiment_id = any($2::bigint[])",
        project,
        list(experiments),
    )
    return {row["experiment_id"]: row["lifecycle_stage"] for row in rows}


def trouble(stages: dict[int, str], experiment: int) -> Exception | None:
    """What is wrong with an experiment that is written to."""
    stage = stages.get(experiment)
    if stage is None:
        return no_experiment(experiment)
    return inactive_experiment(experiment, stage) if stage != "active" else None


async def _fresh(connection: Connection, writes: Sequence[SpanWrite]) -> list[SpanWrite]:
    """Without requests that came before, and each once."""
    once = {write.batch.digest: write for write in writes if write.batch.sketches.traces}
    if not once:
        return []
    rows = await connection.fetch(
        _KNOWN, [write.batch.first_trace for write in once.values()], list(once)
    )
    known = {row["digest"] for row in rows}
    return [write for digest, write in once.items() if digest not in known]


async def _write_block(
    connection: Connection, writes: Sequence[SpanWrite], *, project: str
) -> None:
    if not writes:
        return
    rows = _rows(writes)
    await connection.execute(
        _WRITE_SPANS,
        project,
        [write.batch.digest for write in writes],
        pack(write.batch.body for write in writes),
        *([row[column] for row in rows] for column in range(10)),
    )


def _rows(writes: Sequence[SpanWrite]) -> list[tuple[object, ...]]:
    """One row a trace, in the order of their ids: concurrent writers cannot deadlock."""
    traces: dict[str, tuple[int, TraceSketch]] = {}
    for write in writes:
        for sketch in write.batch.sketches.traces.values():
            known = traces.setdefault(sketch.trace_id, (write.experiment, sketch))
            if known[1] is not sketch:
                known[1].join(sketch)
    return [
        (
            trace_id,
            experiment,
            sketch.request_time,
            sketch.execution_duration,
            sketch.state or "IN_PROGRESS",
            sketch.name,
            sketch.request_preview,
            sketch.response_preview,
            orjson.dumps(sketch.metadata).decode() if sketch.metadata else "{}",
            orjson.dumps(sketch.tags).decode() if sketch.tags else "{}",
        )
        for trace_id, (experiment, sketch) in sorted(traces.items())
    ]


def _finished_traces(batch: SpanBatch) -> list[str]:
    return [one.trace_id for one in batch.sketches.traces.values() if one.state is not None]
