"""What traces belong to: runs that made them, prompt versions that they used."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.db import Connection
from services.tracking.domain.errors import no_run, no_trace


async def link_traces(
    connection: Connection, *, project: str, run_id: str, trace_ids: Sequence[str]
) -> None:
    """Say that traces belong to a run; traces that do not exist are passed over."""
    await connection.execute(
        """
        insert into trace_run (run_id, trace_id, project)
        select run.run_id, trace.trace_id, $1 from run, trace
        where run.project = $1 and run.run_id = $2
            and trace.project = $1 and trace.trace_id = any($3::text[])
        on conflict (run_id, trace_id) do nothing
        """,
        project,
        run_id,
        list(trace_ids),
    )


async def check_run(connection: Connection, *, project: str, run_id: str) -> None:
    """Raises NotFound for a run that does not exist."""
    found = await connection.fetchval(
        "select true from run where project = $1 and run_id = $2", project, run_id
    )
    if not found:
        raise no_run(run_id)


async def link_prompts(
    connection: Connection, *, project: str, trace_id: str, prompts: Sequence[tuple[str, str]]
) -> None:
    """Say that a trace used prompt versions (name, version). Raises NotFound."""
    found = await connection.fetchval(
        """
        with named as (
            select trace_id from trace where project = $1 and trace_id = $2 for key share
        ), linked as (
            insert into trace_prompt (trace_id, project, name, version)
            select named.trace_id, $1, given.name, given.version
            from named, unnest($3::text[], $4::text[]) as given (name, version)
            on conflict (trace_id, name, version) do nothing
        )
        select trace_id from named
        """,
        project,
        trace_id,
        [name for name, _ in prompts],
        [version for _, version in prompts],
    )
    if found is None:
        raise no_trace(trace_id)
