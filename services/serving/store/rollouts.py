"""SQL of rollouts that drive themselves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import asyncpg

from headrace.runtime.db import Connection
from services.serving.domain.rollouts import Quality, Rollout, RolloutPlan, RolloutState
from services.serving.store.driving import beginning_of


async def insert(connection: Connection, rollout: Rollout) -> None:
    """A new rollout; the caller made sure that no other runs."""
    await connection.execute(
        "insert into rollout (rollout_id, project, model, plan, state, step, table_version,"
        " champion, author, reason, correlation_id, started_at, step_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        rollout.rollout_id,
        rollout.project,
        rollout.model,
        asdict(rollout.plan),
        rollout.state.value,
        rollout.step,
        rollout.table,
        rollout.champion,
        rollout.author,
        rollout.reason,
        rollout.correlation_id,
        rollout.started_at,
        rollout.step_at,
    )


async def forget(connection: Connection, rollout_id: str) -> None:
    """A backup has an older copy of it than the state topic."""
    await connection.execute("delete from rollout where rollout_id=$1", rollout_id)


async def move(connection: Connection, rollout: Rollout) -> bool:
    """Note where it is now; False if it ended meanwhile."""
    moved: str = await connection.execute(
        "update rollout set state=$2, step=$3, table_version=$4, step_at=$5, decided_at=$6,"
        " outcome=$7 where rollout_id=$1 and state in ('running', 'promoting')",
        rollout.rollout_id,
        rollout.state.value,
        rollout.step,
        rollout.table,
        rollout.step_at,
        rollout.decided_at,
        rollout.outcome,
    )
    return moved == "UPDATE 1"


async def running(connection: Connection, *, project: str) -> list[Rollout]:
    """Rollouts that have not ended."""
    rows = await connection.fetch(
        "select * from rollout where project=$1 and state in ('running', 'promoting')", project
    )
    return [_rollout(row) for row in rows]


async def of_model(
    connection: Connection, *, project: str, model: str, limit: int
) -> list[Rollout]:
    """The latest rollouts of a model, newest first."""
    rows = await connection.fetch(
        "select * from rollout where project=$1 and model=$2 order by started_at desc limit $3",
        project,
        model,
        limit,
    )
    return [_rollout(row) for row in rows]


def _rollout(row: asyncpg.Record) -> Rollout:
    return Rollout(
        rollout_id=row["rollout_id"],
        plan=plan_of(row["plan"]),
        state=RolloutState(row["state"]),
        step=row["step"],
        step_at=row["step_at"],
        decided_at=row["decided_at"],
        outcome=row["outcome"],
        **beginning_of(row),
    )


def plan_of(stored: dict[str, Any]) -> RolloutPlan:
    """A plan from its JSON."""
    quality = stored["quality"]
    return RolloutPlan(
        **{
            **stored,
            "steps": tuple(stored["steps"]),
            "quality": Quality(**quality) if quality else None,
        }
    )
