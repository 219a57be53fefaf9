"""Runs: their rows, their stages, and everything that a page of runs shows."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import NotFound
from headrace.runtime.db import Connection
from services.tracking.domain.entities import (
    LifecycleStage,
    Run,
    RunInfo,
    RunStatus,
)
from services.tracking.domain.errors import inactive_run, no_run
from services.tracking.store.contents import info_of, load_runs


async def find_run(connection: Connection, *, project: str, run_id: str) -> RunInfo | None:
    """A run in any stage, or None."""
    row = await connection.fetchrow(
        "select * from run where project = $1 and run_id = $2", project, run_id
    )
    return info_of(row) if row is not None else None


async def experiment_names(
    connection: Connection, *, project: str, run_ids: Sequence[str]
) -> dict[str, str]:
    """Names of the experiments of those runs that exist, in any stage."""
    rows = await connection.fetch(
        "select run_id, experiment.name from run join experiment using (experiment_id)"
        " where run.project = $1 and run_id = any($2)",
        project,
        list(run_ids),
    )
    return {row["run_id"]: row["name"] for row in rows}


async def get_run(connection: Connection, *, project: str, run_id: str) -> Run:
    """A run in any stage with all that was logged to it. Raises NotFound."""
    found = await load_runs(connection, project=project, run_ids=[run_id])
    if not found:
        raise no_run(run_id)
    return found[0]


async def lock_run(connection: Connection, *, project: str, run_id: str) -> RunInfo:
    """The run, held until the transaction ends: writes to it come one after another.

    Raises NotFound, or InvalidInput if the run is deleted.
    """
    info = await _lock(connection, project=project, run_id=run_id)
    if info.lifecycle_stage != "active":
        raise inactive_run(run_id, info.lifecycle_stage)
    return info


async def update_run(
    connection: Connection,
    run: RunInfo,
    *,
    status: RunStatus | None = None,
    start_time: int | None = None,
    end_time: int | None = None,
) -> RunInfo:
    """Change what is given of a locked run; one that was asked to stop and fails was killed."""
    row = await connection.fetchrow(
        "update run set status = case when $2 = 'FAILED' and stop_requested_at is not null"
        " then 'KILLED' else coalesce($2, status) end,"
        " start_time = coalesce($3, start_time), end_time = coalesce($4, end_time)"
        " where run_id = $1 returning *",
        run.run_id,
        status,
        start_time,
        end_time,
    )
    if row is None:
        raise no_run(run.run_id)
    return info_of(row)


async def stop_requested_at(connection: Connection, *, run_id: str) -> int | None:
    """When a run was asked to stop, in milliseconds."""
    at: int | None = await connection.fetchval(
        "select stop_requested_at from run where run_id = $1", run_id
    )
    return at


async def stop_taking(connection: Connection, *, run_id: str, now_ms: int) -> None:
    """Mark a locked run as asked to stop."""
    await connection.execute(
        "update run set stop_requested_at = $2 where run_id = $1", run_id, now_ms
    )


async def move_run(
    connection: Connection, *, project: str, run_id: str, stage: LifecycleStage
) -> None:
    """Delete or restore a run; nothing happens if it is there already. Raises NotFound."""
    await _lock(connection, project=project, run_id=run_id)
    await connection.execute("update run set lifecycle_stage = $2 where run_id = $1", run_id, stage)


async def get_tag(connection: Connection, *, run_id: str, key: str) -> str | None:
    """The value of a tag, or None."""
    value: str | None = await connection.fetchval(
        "select value from tag where run_id = $1 and key = $2", run_id, key
    )
    return value


async def delete_tag(connection: Connection, *, run_id: str, key: str) -> None:
    """Remove a tag of a locked run. Raises NotFound."""
    gone = await connection.fetchval(
        "delete from tag where run_id = $1 and key = $2 returning key", run_id, key
    )
    if gone is None:
        raise NotFound(f"No tag with name: {key} in run with id {run_id}")


async def _lock(connection: Connection, *, project: str, run_id: str) -> RunInfo:
    row = await connection.fetchrow(
        "select * from run where project = $1 and run_id = $2 for no key update", project, run_id
    )
    if row is None:
        raise no_run(run_id)
    return info_of(row)
