"""Runs: their rows, their stages, and everything that a page of runs shows."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from headrace.errors import Conflict, InvalidInput, NotFound
from headrace.runtime.db import Connection
from services.tracking.domain.entities import (
    RUN_NAME_TAG,
    LifecycleStage,
    Run,
    RunInfo,
    RunStatus,
)
from services.tracking.domain.errors import no_experiment, no_run
from services.tracking.store.contents import info_of, load_runs
from services.tracking.store.experiments import inactive_experiment


async def create_run(
    connection: Connection,
    *,
    project: str,
    run_id: str,
    experiment: int,
    name: str,
    user_id: str,
    status: RunStatus,
    start_time: int,
    end_time: int | None,
    tags: Mapping[str, str],
) -> RunInfo:
    """A new run in an active experiment, with its tags. NotFound, InvalidInput, Conflict."""
    try:
        row = await connection.fetchrow(
            """
            with home as (
                select experiment_id, artifact_location from experiment
                where project = $1 and experiment_id = $3 and lifecycle_stage = 'active'
                for share
            ), made as (
                insert into run (run_id, project, experiment_id, name, user_id, status,
                    start_time, end_time, artifact_uri)
                select $2, $1, experiment_id, $4, $5, $6, $7, $8,
                    rtrim(artifact_location, '/') || '/' || $2 || '/artifacts'
                from home
                returning *
            ), tagged as (
                insert into tag (run_id, experiment_id, key, value)
                select made.run_id, made.experiment_id, given.key, given.value
                from made, unnest($9::text[], $10::text[]) as given (key, value)
            )
            select * from made
            """,
            project,
            run_id,
            experiment,
            name,
            user_id,
            status,
            start_time,
            end_time,
            list(tags),
            list(tags.values()),
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"Run with id={run_id} already exists.") from error
    if row is None:
        raise await _why_no_home(connection, project=project, experiment=experiment)
    return info_of(row)


async def find_run(connection: Connection, *, project: str, run_id: str) -> RunInfo | None:
    """A run in any stage, or None."""
    row = await connection.fetchrow(
        "select * from run where project = $1 and run_id = $2", project, run_id
    )
    return info_of(row) if row is not None else None


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
        raise InvalidInput(
            f"The run {run_id} must be in the 'active' state. "
            f"Current state is {info.lifecycle_stage}.",
            field="run_id",
        )
    return info


async def update_run(
    connection: Connection,
    run: RunInfo,
    *,
    name: str | None = None,
    status: RunStatus | None = None,
    start_time: int | None = None,
    end_time: int | None = None,
) -> RunInfo:
    """Change what is given of a locked run; a name is also its `mlflow.runName` tag."""
    row = await connection.fetchrow(
        "update run set name = coalesce($2, name), status = coalesce($3, status),"
        " start_time = coalesce($4, start_time), end_time = coalesce($5, end_time)"
        " where run_id = $1 returning *",
        run.run_id,
        name,
        status,
        start_time,
        end_time,
    )
    if name is not None:
        await set_tags(connection, run_id=run.run_id, tags={RUN_NAME_TAG: name})
    if row is None:
        raise no_run(run.run_id)
    return info_of(row)


async def move_run(
    connection: Connection, *, project: str, run_id: str, stage: LifecycleStage
) -> None:
    """Delete or restore a run; nothing happens if it is there already. Raises NotFound."""
    await _lock(connection, project=project, run_id=run_id)
    await connection.execute("update run set lifecycle_stage = $2 where run_id = $1", run_id, stage)


async def add_params(
    connection: Connection, *, run_id: str, params: Mapping[str, str]
) -> dict[str, str]:
    """Add params to a locked run; what is there stays as it is. Returns what was there before."""
    rows = await connection.fetch(
        """
        with added as (
            insert into param (run_id, experiment_id, key, value)
            select run.run_id, run.experiment_id, given.key, given.value
            from run, unnest($2::text[], $3::text[]) as given (key, value)
            where run.run_id = $1
            on conflict (run_id, key) do nothing
        )
        select key, value from param where run_id = $1 and key = any($2::text[])
        """,
        run_id,
        list(params),
        list(params.values()),
    )
    return {row["key"]: row["value"] for row in rows}


async def set_tags(
    connection: Connection, *, run_id: str, tags: Mapping[str, str]
) -> dict[str, str]:
    """Set tags of a locked run. Returns those that changed."""
    rows = await connection.fetch(
        """
        insert into tag (run_id, experiment_id, key, value)
        select run.run_id, run.experiment_id, given.key, given.value
        from run, unnest($2::text[], $3::text[]) as given (key, value)
        where run.run_id = $1
        on conflict (run_id, key) do update set value = excluded.value
        where tag.value <> excluded.value
        returning key, value
        """,
        run_id,
        list(tags),
        list(tags.values()),
    )
    return {row["key"]: row["value"] for row in rows}


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


async def _why_no_home(connection: Connection, *, project: str, experiment: int) -> Exception:
    stage = await connection.fetchval(
        "select lifecycle_stage from experiment where project = $1 and experiment_id = $2",
        project,
        experiment,
    )
    if stage is None:
        return no_experiment(experiment)
    return inactive_experiment(experiment, stage)
