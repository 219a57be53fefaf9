"""SQL of experiments."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import asyncpg

from headrace.runtime.db import Connection
from services.serving.domain.experiments import (
    Experiment,
    ExperimentPlan,
    ExperimentState,
    Metric,
)
from services.serving.domain.traffic import Arm
from services.serving.store.driving import beginning_of


async def insert(connection: Connection, experiment: Experiment) -> None:
    """A new experiment; the caller made sure that nothing else drives the model."""
    await connection.execute(
        "insert into experiment (experiment_id, project, model, name, plan, state, champion,"
        " table_version, author, reason, correlation_id, started_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        experiment.experiment_id,
        experiment.project,
        experiment.model,
        experiment.name,
        asdict(experiment.plan),
        experiment.state.value,
        experiment.champion,
        experiment.table,
        experiment.author,
        experiment.reason,
        experiment.correlation_id,
        experiment.started_at,
    )


async def forget(connection: Connection, experiment_id: str) -> None:
    """A backup has an older copy of it than the state topic."""
    await connection.execute("delete from experiment where experiment_id=$1", experiment_id)


async def end(connection: Connection, ended: Experiment) -> bool:
    """Note how it ended; False if it had ended already."""
    moved: str = await connection.execute(
        "update experiment set state=$2, ended_at=$3, ended_by=$4, winner=$5, proven=$6,"
        " outcome=$7 where experiment_id=$1 and state='running'",
        ended.experiment_id,
        ended.state.value,
        ended.ended_at,
        ended.ended_by,
        ended.winner,
        ended.proven,
        ended.outcome,
    )
    return moved == "UPDATE 1"


async def running(connection: Connection, *, project: str) -> list[Experiment]:
    """Experiments that have not ended."""
    rows = await connection.fetch(
        "select * from experiment where project=$1 and state='running'", project
    )
    return [_experiment(row) for row in rows]


async def named(
    connection: Connection, *, project: str, model: str, name: str
) -> Experiment | None:
    """The experiment of a model that has this name."""
    row = await connection.fetchrow(
        "select * from experiment where project=$1 and model=$2 and name=$3", project, model, name
    )
    return _experiment(row) if row else None


async def of_model(
    connection: Connection, *, project: str, model: str, limit: int
) -> list[Experiment]:
    """The latest experiments of a model, newest first."""
    rows = await connection.fetch(
        "select * from experiment where project=$1 and model=$2 order by started_at desc limit $3",
        project,
        model,
        limit,
    )
    return [_experiment(row) for row in rows]


def plan_of(stored: dict[str, Any]) -> ExperimentPlan:
    """A plan from its JSON."""
    return ExperimentPlan(
        **{
            **stored,
            "arms": tuple(Arm(**arm) for arm in stored["arms"]),
            "metric": Metric(**stored["metric"]),
        }
    )


def _experiment(row: asyncpg.Record) -> Experiment:
    return Experiment(
        experiment_id=row["experiment_id"],
        name=row["name"],
        plan=plan_of(row["plan"]),
        state=ExperimentState(row["state"]),
        ended_at=row["ended_at"],
        ended_by=row["ended_by"],
        winner=row["winner"],
        proven=row["proven"],
        outcome=row["outcome"],
        **beginning_of(row),
    )
