"""Assessments of traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import orjson

from headrace.errors import NotFound
from headrace.runtime.db import Connection
from services.tracking.domain.errors import no_trace
from services.tracking.domain.traces.entities import Assessment

_INSERT: Final = """
insert into trace_assessment (trace_id, assessment_id, project, kind, name, source_type, source_id,
    span_id, rationale, metadata, value, error, overrides, valid, create_time, last_update_time)
select given.trace_id, given.assessment_id, $1, given.kind, given.name, given.source_type,
    given.source_id, given.span_id, given.rationale, given.metadata::jsonb, given.value::jsonb,
    given.error::jsonb, given.overrides, given.valid, given.create_time, given.last_update_time
from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[],
    $15::bigint[], $16::bigint[])
    as given (trace_id, assessment_id, kind, name, source_type, source_id, span_id, rationale,
        metadata, value, error, overrides, valid, create_time, last_update_time)
on conflict (trace_id, assessment_id) do nothing
"""


async def add_assessments(
    connection: Connection, assessments: Sequence[Assessment], *, project: str
) -> None:
    """Add assessments of traces that exist; one that is there already stays as it is."""
    rows = [_row(one) for one in assessments]
    if rows:
        await connection.execute(
            _INSERT, project, *([row[column] for row in rows] for column in range(15))
        )


async def create_assessment(
    connection: Connection, assessment: Assessment, *, project: str
) -> Assessment:
    """Add an assessment to a trace; the one that it overrides is valid no more.

    Raises NotFound if there is no such trace, or nothing to override.
    """
    trace_id = assessment.trace_id
    await _hold_trace(connection, project=project, trace_id=trace_id)
    if assessment.overrides is not None:
        gone = await connection.fetchval(
            "update trace_assessment set valid = false"
            " where trace_id = $1 and assessment_id = $2 returning assessment_id",
            trace_id,
            assessment.overrides,
        )
        if gone is None:
            raise _no_assessment(trace_id, assessment.overrides)
    await add_assessments(connection, [assessment], project=project)
    return assessment


async def get_assessment(
    connection: Connection, *, project: str, trace_id: str, assessment_id: str
) -> Assessment:
    """An assessment. Raises NotFound that says whether it is the trace that is missing."""
    row = await connection.fetchrow(
        "select * from trace_assessment"
        " where project = $1 and trace_id = $2 and assessment_id = $3 for no key update",
        project,
        trace_id,
        assessment_id,
    )
    if row is None:
        await _hold_trace(connection, project=project, trace_id=trace_id)
        raise _no_assessment(trace_id, assessment_id)
    return _assessment_of(row)


async def replace_assessment(connection: Connection, assessment: Assessment) -> None:
    """Store what may change of an assessment that was read in the same transaction."""
    await connection.execute(
        "update trace_assessment set name = $3, value = $4::text::jsonb, error = $5::text::jsonb,"
        " rationale = $6, metadata = $7::text::jsonb, valid = $8, last_update_time = $9"
        " where trace_id = $1 and assessment_id = $2",
        assessment.trace_id,
        assessment.assessment_id,
        assessment.name,
        _json(assessment.value),
        None if assessment.error is None else _json(assessment.error),
        assessment.rationale,
        None if assessment.metadata is None else _json(assessment.metadata),
        assessment.valid,
        assessment.last_update_time,
    )


async def delete_assessment(
    connection: Connection, *, project: str, trace_id: str, assessment_id: str
) -> None:
    """Remove an assessment; the one that it overrode is valid again. Raises NotFound for a trace.

    Nothing happens if the trace has no such assessment.
    """
    await _hold_trace(connection, project=project, trace_id=trace_id)
    await connection.execute(
        """
        with gone as (
            delete from trace_assessment where trace_id = $1 and assessment_id = $2
            returning overrides
        )
        update trace_assessment set valid = true from gone
        where trace_id = $1 and assessment_id = gone.overrides
        """,
        trace_id,
        assessment_id,
    )


async def list_assessments(
    connection: Connection, *, trace_ids: Sequence[str]
) -> Mapping[str, Sequence[Assessment]]:
    """The assessments of traces, the oldest first."""
    found: dict[str, list[Assessment]] = {}
    rows = await connection.fetch(
        "select * from trace_assessment where trace_id = any($1::text[])"
        " order by create_time, assessment_id",
        list(trace_ids),
    )
    for row in rows:
        found.setdefault(row["trace_id"], []).append(_assessment_of(row))
    return found


async def _hold_trace(connection: Connection, *, project: str, trace_id: str) -> None:
    """Keep a trace from being deleted until the transaction ends. Raises NotFound."""
    found = await connection.fetchval(
        "select true from trace where project = $1 and trace_id = $2 for key share",
        project,
        trace_id,
    )
    if not found:
        raise no_trace(trace_id)


def _no_assessment(trace_id: str, assessment_id: str) -> NotFound:
    return NotFound(f"Assessment with ID '{assessment_id}' not found for trace '{trace_id}'")


def _row(one: Assessment) -> tuple[object, ...]:
    return (
        one.trace_id,
        one.assessment_id,
        one.kind,
        one.name,
        one.source_type,
        one.source_id,
        one.span_id,
        one.rationale,
        None if one.metadata is None else _json(one.metadata),
        _json(one.value),
        None if one.error is None else _json(one.error),
        one.overrides,
        one.valid,
        one.create_time,
        one.last_update_time,
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _assessment_of(row: asyncpg.Record) -> Assessment:
    return Assessment(
        assessment_id=row["assessment_id"],
        trace_id=row["trace_id"],
        kind=row["kind"],
        name=row["name"],
        source_type=row["source_type"],
        source_id=row["source_id"],
        value=row["value"],
        error=row["error"],
        span_id=row["span_id"],
        rationale=row["rationale"],
        metadata=row["metadata"],
        overrides=row["overrides"],
        valid=row["valid"],
        create_time=row["create_time"],
        last_update_time=row["last_update_time"],
    )
