"""Writing what clients say of their traces when these have ended: whole groups at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import asyncpg
import orjson

from headrace.runtime.db import Connection
from services.tracking.domain.traces.entities import NewTrace, Trace
from services.tracking.store.traces.assessments import add_assessments
from services.tracking.store.traces.reads import get_traces
from services.tracking.store.traces.writes import experiment_stages, trouble

_WRITE_INFOS: Final = """
insert into trace (trace_id, project, experiment_id, request_time, execution_duration, state,
    name, client_request_id, request_preview, response_preview, metadata, tags, finalized)
select given.trace_id, $1, given.experiment_id, given.request_time, given.execution_duration,
    given.state, given.name, given.client_request_id, given.request_preview,
    given.response_preview, given.metadata::jsonb, given.tags::jsonb, true
from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
    as given (trace_id, experiment_id, request_time, execution_duration, state, name,
        client_request_id, request_preview, response_preview, metadata, tags)
on conflict (trace_id) do update set
    experiment_id = excluded.experiment_id,
    request_time = excluded.request_time,
    execution_duration = excluded.execution_duration,
    state = excluded.state,
    name = coalesce(excluded.name, trace.name),
    client_request_id = excluded.client_request_id,
    request_preview = coalesce(excluded.request_preview, trace.request_preview),
    response_preview = coalesce(excluded.response_preview, trace.response_preview),
    metadata = trace.metadata || excluded.metadata,
    tags = trace.tags || excluded.tags,
    finalized = true
where trace.project = excluded.project
"""


async def write_infos(
    pool: asyncpg.Pool, given: Sequence[NewTrace], *, project: str
) -> list[Trace | Exception]:
    """Make traces durable, whether or not their spans have come.

    Returns for each the trace as it is then, or what is wrong with its experiment.
    """
    async with pool.acquire() as connection:
        stages = await experiment_stages(
            connection, project=project, experiments={one.experiment for one in given}
        )
        good = [one for one in given if trouble(stages, one.experiment) is None]
        async with connection.transaction():
            for each_once in _rounds(good):
                await _write(connection, each_once, project=project)
        stored = {
            trace.trace_id: trace
            for trace in await get_traces(
                connection, project=project, trace_ids=[one.trace_id for one in good]
            )
        }
        return [trouble(stages, one.experiment) or stored[one.trace_id] for one in given]


async def _write(connection: Connection, given: Sequence[NewTrace], *, project: str) -> None:
    rows = [_row(one) for one in sorted(given, key=lambda one: one.trace_id)]
    await connection.execute(
        _WRITE_INFOS, project, *([row[column] for row in rows] for column in range(11))
    )
    assessments = [assessment for one in given for assessment in one.assessments]
    await add_assessments(connection, assessments, project=project)


def _rounds(given: Sequence[NewTrace]) -> Iterator[list[NewTrace]]:
    """One statement can write a trace once: what comes twice waits for the next round."""
    left = list(given)
    while left:
        once: dict[str, NewTrace] = {}
        again: list[NewTrace] = []
        for one in left:
            if one.trace_id in once:
                again.append(one)
            else:
                once[one.trace_id] = one
        yield list(once.values())
        left = again


def _row(one: NewTrace) -> tuple[object, ...]:
    return (
        one.trace_id,
        one.experiment,
        one.request_time,
        one.execution_duration,
        one.state,
        one.name,
        one.client_request_id,
        one.request_preview,
        one.response_preview,
        orjson.dumps(one.metadata).decode(),
        orjson.dumps(one.tags).decode(),
    )
