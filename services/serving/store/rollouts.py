"""SQL of rollouts that drive themselves, and of the outcomes that they are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from headrace.runtime.db import Connection
from services.serving.domain.rollouts import Quality, Rollout, RolloutPlan, RolloutState
from services.serving.domain.traffic import Losses


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """One prediction of an arm that a rollout judges."""

    project: str
    model: str
    prediction_id: str
    table_version: int
    arm: str
    score: float


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


async def note_predictions(connection: Connection, predictions: Sequence[Predicted]) -> None:
    """The predicted halves; one that is here already changes nothing."""
    await connection.executemany(
        "insert into outcome (project, model, prediction_id, table_version, arm, score)"
        " values ($1, $2, $3, $4, $5, $6) on conflict (project, model, prediction_id) do update"
        " set table_version=excluded.table_version, arm=excluded.arm, score=excluded.score"
        " where outcome.score is null",
        [
            (each.project, each.model, each.prediction_id, each.table_version, each.arm, each.score)
            for each in predictions
        ],
    )


async def note_labels(
    connection: Connection, labels: Sequence[tuple[str, str, str, float]]
) -> None:
    """The labelled halves, as (project, model, prediction id, label); the first label counts."""
    await connection.executemany(
        "insert into outcome (project, model, prediction_id, label) values ($1, $2, $3, $4)"
        " on conflict (project, model, prediction_id) do update set label=excluded.label"
        " where outcome.label is null",
        labels,
    )


async def losses(connection: Connection, rollout: Rollout) -> Mapping[str, Losses]:
    """Labelled predictions of the rollout's present table, by arm, with their losses in [0, 1].

    brier: squared distance. absolute: distance in units of `scale`. wrong: farther than `scale`.
    """
    quality = rollout.plan.quality
    if quality is None:
        return {}
    rows = await connection.fetch(
        "select arm, count(*) as count, sum(least(1, case $4 when 'brier' then"
        " power(abs(score - label), 2) when 'absolute' then abs(score - label) / $5"
        " else (abs(score - label) > $5)::int end)) as total from outcome"
        " where project=$1 and model=$2 and table_version=$3"
        " and score <> 'NaN' and label is not null group by arm",
        rollout.project,
        rollout.model,
        rollout.table,
        quality.loss,
        quality.scale,
    )
    return {row["arm"]: Losses(count=row["count"], total=row["total"]) for row in rows}


async def forget_outcomes(connection: Connection, *, project: str, model: str) -> None:
    """Nobody judges by them any more."""
    await connection.execute("delete from outcome where project=$1 and model=$2", project, model)


def _rollout(row: asyncpg.Record) -> Rollout:
    return Rollout(
        rollout_id=row["rollout_id"],
        project=row["project"],
        model=row["model"],
        plan=_plan(row["plan"]),
        state=RolloutState(row["state"]),
        step=row["step"],
        table=row["table_version"],
        champion=row["champion"],
        author=row["author"],
        reason=row["reason"],
        correlation_id=row["correlation_id"],
        started_at=row["started_at"],
        step_at=row["step_at"],
        decided_at=row["decided_at"],
        outcome=row["outcome"],
    )


def _plan(stored: dict[str, Any]) -> RolloutPlan:
    quality = stored["quality"]
    return RolloutPlan(
        **{
            **stored,
            "steps": tuple(stored["steps"]),
            "quality": Quality(**quality) if quality else None,
        }
    )
