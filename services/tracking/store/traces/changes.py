"""Changes to single traces."""

from __future__ import annotations

from headrace.errors import NotFound
from headrace.runtime.db import Connection
from services.tracking.domain.errors import no_trace
from services.tracking.domain.traces.entities import NAME_TAG


async def set_trace_tag(
    connection: Connection, *, project: str, trace_id: str, key: str, value: str
) -> None:
    """Set a tag; the one with the name renames the trace. Raises NotFound."""
    if key == NAME_TAG:
        change = "update trace set name = $4::text"
    else:
        change = "update trace set tags = tags || jsonb_build_object($3::text, $4::text)"
    found = await connection.fetchval(
        f"{change} where project = $1 and trace_id = $2 and $3::text <> '' returning trace_id",
        project,
        trace_id,
        key,
        value,
    )
    if found is None:
        raise no_trace(trace_id)


async def delete_trace_tag(
    connection: Connection, *, project: str, trace_id: str, key: str
) -> None:
    """Remove a tag. Raises NotFound that says whether the trace or its tag is missing."""
    row = await connection.fetchrow(
        "select case when $3 = $4 then name is not null else tags ? $3 end as there"
        " from trace where project = $1 and trace_id = $2 for no key update",
        project,
        trace_id,
        key,
        NAME_TAG,
    )
    if row is None:
        raise no_trace(trace_id)
    if not row["there"]:
        raise NotFound(f"No trace tag with key '{key}' for trace with ID '{trace_id}'")
    await connection.execute(
        "update trace set tags = tags - $2::text,"
        " name = case when $2 = $3 then null else name end where trace_id = $1",
        trace_id,
        key,
        NAME_TAG,
    )
