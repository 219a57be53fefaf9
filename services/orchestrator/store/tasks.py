"""Steps of runs and their attempts. The run's row is locked before its tasks are touched.

Leases and deadlines are compared with the database's clock only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.runtime.db import Connection
from services.orchestrator.domain.engine import History


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A step of a run as stored; `seconds` is how long the present attempt has been running."""

    run_id: str
    step: str
    state: str
    attempt: int
    failures: int
    losses: int
    fence: int | None
    worker: str | None
    seconds: float | None
    outputs: dict[str, Any]


async def add_tasks(
    connection: Connection, *, project: str, run_id: str, steps: Sequence[tuple[str, int, int]]
) -> None:
    """Insert `(step, position, upstream steps)`; those without upstream steps are ready."""
    await connection.execute(
        "insert into task (project, run_id, step, position, waiting_for, state, ready_at)"
        " select $1, $2, step, position, upstream,"
        " case when upstream = 0 then 'ready' else 'pending' end,"
        " case when upstream = 0 then now() end"
        " from unnest($3::text[], $4::int[], $5::int[]) as t(step, position, upstream)",
        project,
        run_id,
        [step for step, _, _ in steps],
        [position for _, position, _ in steps],
        [upstream for _, _, upstream in steps],
    )


async def take(
    connection: Connection,
    *,
    project: str,
    run_id: str,
    step: str,
    worker: str,
    session: str,
    lease_seconds: float,
    timeout: float,
) -> tuple[int, int] | None:
    """Start an attempt of a ready step: `(fence, attempt)`, None if it is not ready any more."""
    row = await connection.fetchrow(
        "with taken as (update task set state = 'running', attempt = attempt + 1,"
        " fence = nextval('fence_number'), worker = $4,"
        " lease_until = now() + make_interval(secs => $6),"
        " deadline = now() + make_interval(secs => $7),"
        " started_at = now(), finished_at = null, error = null"
        " where project = $1 and run_id = $2 and step = $3 and state = 'ready'"
        " and exists (select from worker where project = $1 and name = $4 and session = $5)"
        " returning fence, attempt),"
        " noted as (insert into task_attempt"
        " (project, fence, run_id, step, attempt, worker, session)"
        " select $1, fence, $2, $3, attempt, $4, $5 from taken)"
        " select fence, attempt from taken",
        project,
        run_id,
        step,
        worker,
        session,
        lease_seconds,
        timeout,
    )
    return None if row is None else (row["fence"], row["attempt"])


async def renew(
    connection: Connection,
    *,
    project: str,
    held: Sequence[tuple[str, str, int]],
    lease_seconds: float,
) -> list[int]:
    """Extend the leases of `(run, step, fence)` that still hold; their fences."""
    rows = await connection.fetch(
        "update task set lease_until = now() + make_interval(secs => $5)"
        " from unnest($2::text[], $3::text[], $4::bigint[]) as held(run_id, step, fence)"
        " where task.project = $1 and task.run_id = held.run_id and task.step = held.step"
        " and task.fence = held.fence and task.state = 'running' returning task.fence",
        project,
        [run for run, _, _ in held],
        [step for _, step, _ in held],
        [fence for _, _, fence in held],
        lease_seconds,
    )
    return [row["fence"] for row in rows]


async def task_of(connection: Connection, *, project: str, run_id: str, step: str) -> Task | None:
    """A step of a run."""
    row = await connection.fetchrow(
        "select run_id, step, state, attempt, failures, losses, fence, worker, outputs,"
        " extract(epoch from clock_timestamp() - started_at)::float8 as seconds"
        " from task where project = $1 and run_id = $2 and step = $3",
        project,
        run_id,
        step,
    )
    return None if row is None else Task(**dict(row))


async def outputs_of(
    connection: Connection, *, project: str, run_id: str, steps: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Outputs of steps that succeeded."""
    rows = await connection.fetch(
        "select step, outputs from task where project = $1 and run_id = $2"
        " and step = any($3::text[]) and state = 'succeeded'",
        project,
        run_id,
        list(steps),
    )
    return {row["step"]: row["outputs"] for row in rows}


async def succeed(
    connection: Connection,
    *,
    project: str,
    run_id: str,
    step: str,
    fence: int,
    outputs: Mapping[str, Any],
) -> bool:
    """Commit the outputs of the attempt with this fence; False if it is not the running one."""
    done = await connection.fetchval(
        "update task set state = 'succeeded', outputs = $5, finished_at = clock_timestamp(),"
        " lease_until = null where project = $1 and run_id = $2 and step = $3 and fence = $4"
        " and state = 'running' returning true",
        project,
        run_id,
        step,
        fence,
        dict(outputs),
    )
    return bool(done)


async def release_downstream(
    connection: Connection, *, project: str, run_id: str, steps: Sequence[str]
) -> list[str]:
    """One upstream step less to wait for; the steps that became ready by it."""
    rows = await connection.fetch(
        "update task set waiting_for = waiting_for - 1,"
        " state = case when waiting_for = 1 then 'ready' else state end,"
        " ready_at = case when waiting_for = 1 then now() end"
        " where project = $1 and run_id = $2 and step = any($3::text[]) and state = 'pending'"
        " returning step, state",
        project,
        run_id,
        list(steps),
    )
    return [row["step"] for row in rows if row["state"] == "ready"]


async def unfinished(connection: Connection, *, project: str, run_id: str) -> int:
    """Steps of a run that have not succeeded."""
    count: int = await connection.fetchval(
        "select count(*) from task where project = $1 and run_id = $2 and state <> 'succeeded'",
        project,
        run_id,
    )
    return count


async def again(
    connection: Connection,
    *,
    project: str,
    run_id: str,
    step: str,
    fence: int,
    history: History,
    delay: float,
    error: str | None,
) -> bool:
    """Make a step ready again after `delay` seconds; False if the fence is not the running one."""
    done = await connection.fetchval(
        "update task set state = 'ready', failures = $5, losses = $6, error = $8, worker = null,"
        " lease_until = null, ready_at = clock_timestamp() + make_interval(secs => $7)"
        " where project = $1 and run_id = $2 and step = $3 and fence = $4 and state = 'running'"
        " returning true",
        project,
        run_id,
        step,
        fence,
        history.failures,
        history.losses,
        delay,
        error,
    )
    return bool(done)


async def fail(
    connection: Connection,
    *,
    project: str,
    run_id: str,
    step: str,
    fence: int,
    history: History,
    error: str,
) -> bool:
    """Give a step up; False if the fence is not the running one."""
    done = await connection.fetchval(
        "update task set state = 'failed', failures = $5, losses = $6, error = $7,"
        " lease_until = null, finished_at = clock_timestamp()"
        " where project = $1 and run_id = $2 and step = $3 and fence = $4 and state = 'running'"
        " returning true",
        project,
        run_id,
        step,
        fence,
        history.failures,
        history.losses,
        error,
    )
    return bool(done)


async def skip_rest(connection: Connection, *, project: str, run_id: str) -> list[str]:
    """Skip every step that has not ended; running attempts are fenced by it. The steps skipped."""
    rows = await connection.fetch(
        "with skipped as (update task set state = 'skipped', lease_until = null,"
        " finished_at = clock_timestamp() where project = $1 and run_id = $2"
        " and state in ('pending', 'ready', 'running') returning step, position, fence),"
        " ended as (update task_attempt set outcome = 'cancelled', finished_at = clock_timestamp()"
        " from skipped where task_attempt.project = $1 and task_attempt.fence = skipped.fence"
        " and task_attempt.outcome is null)"
        " select step from skipped order by position",
        project,
        run_id,
    )
    return [row["step"] for row in rows]


async def end_attempt(
    connection: Connection, *, project: str, fence: int, outcome: str, error: str | None
) -> None:
    """Write down how an attempt ended."""
    await connection.execute(
        "update task_attempt set outcome = $3, error = $4, finished_at = clock_timestamp()"
        " where project = $1 and fence = $2 and outcome is null",
        project,
        fence,
        outcome,
        error,
    )


async def attempt_outcome(
    connection: Connection, *, project: str, run_id: str, step: str, fence: int
) -> str | None:
    """How the attempt with this fence ended; None if it runs, or never was one of this step."""
    outcome: str | None = await connection.fetchval(
        "select outcome from task_attempt where project = $1 and fence = $4"
        " and run_id = $2 and step = $3",
        project,
        run_id,
        step,
        fence,
    )
    return outcome


async def attempts(connection: Connection, *, project: str, run_id: str) -> list[dict[str, Any]]:
    """Every attempt of a run in order."""
    rows = await connection.fetch(
        "select step, attempt, fence, worker, started_at, finished_at, outcome, error"
        " from task_attempt where project = $1 and run_id = $2 order by fence",
        project,
        run_id,
    )
    return [dict(row) for row in rows]


async def overdue(connection: Connection, *, project: str) -> list[tuple[str, str, int, bool]]:
    """`(run, step, fence, lease expired)` of attempts past their lease or deadline.

    A worker ends an attempt at its deadline by itself; the orchestrator does so 10 s later.
    """
    rows = await connection.fetch(OVERDUE, project)
    return [tuple(row.values()) for row in rows]


OVERDUE = (
    "select run_id, step, fence, lease_until < now() as expired from task"
    " where state = 'running' and project = $1"
    " and (lease_until < now() or deadline + interval '10 s' < now())"
    " limit 100"
)


async def held_by_earlier_session(
    connection: Connection, *, project: str, worker: str, session: str
) -> list[tuple[str, str, int]]:
    """`(run, step, fence)` that an earlier life of a worker was running."""
    rows = await connection.fetch(
        "select task.run_id, task.step, task.fence from task join task_attempt as attempt"
        " on attempt.project = task.project and attempt.fence = task.fence"
        " where task.state = 'running' and task.project = $1 and task.worker = $2"
        " and attempt.session <> $3",
        project,
        worker,
        session,
    )
    return [tuple(row.values()) for row in rows]
