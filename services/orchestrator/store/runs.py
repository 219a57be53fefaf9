"""Pipelines, workers and pipeline runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from headrace.errors import Conflict, NotFound
from headrace.pipelines import Plan
from headrace.runtime.db import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A pipeline run as stored; `plan` is None while its pipeline is not registered."""

    project: str
    id: str
    pipeline: str
    plan: Plan | None
    plan_digest: str | None
    model: str | None
    parameters: dict[str, Any]
    trigger: dict[str, Any]
    requested_by: str
    drift_epoch: str | None
    seed: int
    state: str
    error: str | None
    correlation_id: str
    last_event_id: str | None
    datasets: list[dict[str, Any]]
    environments: list[dict[str, Any]]
    promotions: list[dict[str, Any]]
    manifest_digest: str | None
    manifest_uri: str | None


async def put_pipeline(connection: Connection, *, project: str, plan: Plan) -> bool:
    """Remember the newest plan of a pipeline; True if it is new or changed."""
    changed = await connection.fetchval(
        "insert into pipeline (project, name, digest, plan) values ($1, $2, $3, $4)"
        " on conflict (project, name) do update"
        " set digest = excluded.digest, plan = excluded.plan, registered_at = now()"
        " where pipeline.digest <> excluded.digest returning true",
        project,
        plan.name,
        plan.digest,
        plan.to_json(),
    )
    return bool(changed)


async def plan_of(connection: Connection, *, project: str, pipeline: str) -> Plan | None:
    """The newest plan of a pipeline, if a worker has registered it."""
    document = await connection.fetchval(
        "select plan from pipeline where project = $1 and name = $2", project, pipeline
    )
    return None if document is None else Plan.from_json(document)


async def pipelines(connection: Connection, *, project: str) -> list[dict[str, Any]]:
    """All registered pipelines with their plans."""
    rows = await connection.fetch(
        "select name, digest, plan, registered_at from pipeline where project = $1 order by name",
        project,
    )
    return [dict(row) for row in rows]


async def put_worker(
    connection: Connection,
    *,
    project: str,
    name: str,
    session: str,
    environment: Mapping[str, Any],
) -> None:
    """A worker process said hello."""
    await connection.execute(
        "insert into worker (project, name, session, environment) values ($1, $2, $3, $4)"
        " on conflict (project, name) do update set session = excluded.session,"
        " environment = excluded.environment, seen_at = now(),"
        " started_at = case when worker.session = excluded.session"
        "   then worker.started_at else now() end",
        project,
        name,
        session,
        dict(environment),
    )


async def require_worker(connection: Connection, *, project: str, name: str, session: str) -> None:
    """Note that a session is alive, to some seconds.

    Raises NotFound for a worker that has not said hello, Conflict if a newer life of it has.
    """
    row = await connection.fetchrow(
        "select session, seen_at < now() - interval '5 s' as long_ago from worker"
        " where project = $1 and name = $2",
        project,
        name,
    )
    if row is None:
        raise NotFound(f"worker {name} has not said hello")
    if row["session"] != session:
        raise Conflict(f"worker {name}: session {session} was replaced by {row['session']}")
    if row["long_ago"]:
        await connection.execute(
            "update worker set seen_at = now() where project = $1 and name = $2", project, name
        )


async def environment_of(connection: Connection, *, project: str, worker: str) -> dict[str, Any]:
    """What a worker's steps run on, as it said in its hello."""
    environment: dict[str, Any] | None = await connection.fetchval(
        "select environment from worker where project = $1 and name = $2", project, worker
    )
    return environment or {}


async def workers(connection: Connection, *, project: str) -> list[dict[str, Any]]:
    """Workers and when they were last heard of."""
    rows = await connection.fetch(
        "select name, session, started_at, seen_at, seen_at > now() - interval '30 s' as alive"
        " from worker where project = $1 order by name",
        project,
    )
    return [dict(row) for row in rows]


async def add_run(connection: Connection, run: Run) -> bool:
    """Insert a run; False if that id exists already."""
    added = await connection.fetchval(
        "insert into pipeline_run (project, id, pipeline, plan, plan_digest, model, parameters,"
        " trigger, requested_by, drift_epoch, seed, state, error, correlation_id, last_event_id,"
        " finished_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
        " case when $12 = 'failed' then now() end)"
        " on conflict (project, id) do nothing returning true",
        run.project,
        run.id,
        run.pipeline,
        run.plan.to_json() if run.plan else None,
        run.plan_digest,
        run.model,
        run.parameters,
        run.trigger,
        run.requested_by,
        run.drift_epoch,
        run.seed,
        run.state,
        run.error,
        run.correlation_id,
        run.last_event_id,
    )
    return bool(added)


async def plan_run(
    connection: Connection, *, project: str, run_id: str, plan: Plan, parameters: Mapping[str, Any]
) -> None:
    """Give a run its graph and its checked parameters."""
    await connection.execute(
        "update pipeline_run set plan = $3, plan_digest = $4, parameters = $5"
        " where project = $1 and id = $2",
        project,
        run_id,
        plan.to_json(),
        plan.digest,
        dict(parameters),
    )


async def lock_run(connection: Connection, *, project: str, run_id: str) -> Run | None:
    """The run, locked until the transaction ends: its events then come in order of commits."""
    row = await connection.fetchrow(
        "select * from pipeline_run where project = $1 and id = $2 for update", project, run_id
    )
    return None if row is None else run_of(row)


async def lock_candidate(
    connection: Connection, *, project: str, pipelines: Sequence[str]
) -> tuple[Run, str] | None:
    """The step that has been ready longest and its run, locked; runs locked by others are skipped.

    The task itself may have been taken meanwhile: `tasks.take` tells.
    """
    row = await connection.fetchrow(CANDIDATE, project, list(pipelines))
    return None if row is None else (run_of(row), row["ready_step"])


CANDIDATE = (
    "select run.*, task.step as ready_step from task join pipeline_run as run"
    " on run.project = task.project and run.id = task.run_id"
    " where task.state = 'ready' and task.ready_at <= now() and task.project = $1"
    " and run.pipeline = any($2::text[])"
    " order by task.ready_at limit 1 for update of run skip locked"
)


async def lock_unplanned(connection: Connection, *, project: str, pipeline: str) -> list[Run]:
    """Runs that wait for their pipeline to be registered, oldest first."""
    rows = await connection.fetch(
        "select * from pipeline_run where project = $1 and pipeline = $2 and plan is null"
        " and state = 'pending' order by created_at for update",
        project,
        pipeline,
    )
    return [run_of(row) for row in rows]


async def save(connection: Connection, run: Run) -> None:
    """Write what changes of a run: state, last event, and what its steps used and asked for."""
    await connection.execute(
        "update pipeline_run set state = $3, error = $4, last_event_id = $5, datasets = $6,"
        " environments = $7, promotions = $8, manifest_digest = $9, manifest_uri = $10,"
        " started_at = case when $3 = 'running' then coalesce(started_at, now())"
        "   else started_at end,"
        " finished_at = case when $3 in ('succeeded', 'failed', 'cancelled') then now() end"
        " where project = $1 and id = $2",
        run.project,
        run.id,
        run.state,
        run.error,
        run.last_event_id,
        run.datasets,
        run.environments,
        run.promotions,
        run.manifest_digest,
        run.manifest_uri,
    )


async def run_document(
    connection: Connection, *, project: str, run_id: str
) -> dict[str, Any] | None:
    """A run for people: everything but its plan and environments, with its steps."""
    row = await connection.fetchrow(
        f"select {_SHOWN} from pipeline_run where project = $1 and id = $2",  # noqa: S608
        project,
        run_id,
    )
    if row is None:
        return None
    steps = await connection.fetch(
        "select step, state, attempt, failures, losses, worker, started_at, finished_at, error,"
        " extract(epoch from finished_at - started_at)::float8 as seconds, outputs"
        " from task where project = $1 and run_id = $2 order by position",
        project,
        run_id,
    )
    return {**dict(row), "steps": [dict(step) for step in steps]}


async def recent_runs(
    connection: Connection, *, project: str, model: str | None, state: str | None, limit: int
) -> list[dict[str, Any]]:
    """Newest runs first."""
    rows = await connection.fetch(
        f"select {_SHOWN} from pipeline_run where project = $1"  # noqa: S608
        " and ($2::text is null or model = $2) and ($3::text is null or state = $3)"
        " order by created_at desc limit $4",
        project,
        model,
        state,
        limit,
    )
    return [dict(row) for row in rows]


_SHOWN = (
    "id as pipeline_run_id, pipeline, plan_digest, model, parameters, trigger, requested_by,"
    " drift_epoch, seed, state, error, correlation_id, datasets, promotions, manifest_digest,"
    " manifest_uri, created_at, started_at, finished_at,"
    " extract(epoch from finished_at - created_at)::float8 as seconds"
)


def run_of(row: asyncpg.Record) -> Run:
    """A row of `pipeline_run` as a Run."""
    plan = row["plan"]
    return Run(
        plan=None if plan is None else Plan.from_json(plan),
        **{name: row[name] for name in Run.__slots__ if name != "plan"},
    )
