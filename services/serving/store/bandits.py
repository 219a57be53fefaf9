"""SQL of bandits."""

from __future__ import annotations

from dataclasses import asdict

import asyncpg

from headrace.runtime.db import Connection
from services.serving.domain.bandit import Bandit, BanditPlan
from services.serving.store.driving import beginning_of


async def insert(connection: Connection, bandit: Bandit) -> None:
    """A new bandit; the caller made sure that nothing else drives the model."""
    await connection.execute(
        "insert into bandit (bandit_id, project, model, plan, running, champion, first_table,"
        " table_version, judged, author, reason, correlation_id, started_at, weighed_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        bandit.bandit_id,
        bandit.project,
        bandit.model,
        asdict(bandit.plan),
        bandit.running,
        bandit.champion,
        bandit.first_table,
        bandit.table,
        bandit.judged,
        bandit.author,
        bandit.reason,
        bandit.correlation_id,
        bandit.started_at,
        bandit.weighed_at,
    )


async def forget(connection: Connection, bandit_id: str) -> None:
    """A backup has an older copy of it than the state topic."""
    await connection.execute("delete from bandit where bandit_id=$1", bandit_id)


async def move(connection: Connection, bandit: Bandit) -> bool:
    """Note where it is now; False if it ended meanwhile."""
    moved: str = await connection.execute(
        "update bandit set running=$2, table_version=$3, judged=$4, weighed_at=$5, outcome=$6"
        " where bandit_id=$1 and running",
        bandit.bandit_id,
        bandit.running,
        bandit.table,
        bandit.judged,
        bandit.weighed_at,
        bandit.outcome,
    )
    return moved == "UPDATE 1"


async def running(connection: Connection, *, project: str) -> list[Bandit]:
    """Bandits that have not ended."""
    rows = await connection.fetch("select * from bandit where project=$1 and running", project)
    return [_bandit(row) for row in rows]


async def of_model(connection: Connection, *, project: str, model: str) -> Bandit | None:
    """The newest bandit of a model."""
    row = await connection.fetchrow(
        "select * from bandit where project=$1 and model=$2 order by started_at desc limit 1",
        project,
        model,
    )
    return _bandit(row) if row else None


def _bandit(row: asyncpg.Record) -> Bandit:
    return Bandit(
        bandit_id=row["bandit_id"],
        plan=BanditPlan(**row["plan"]),
        running=row["running"],
        first_table=row["first_table"],
        judged=row["judged"],
        weighed_at=row["weighed_at"],
        outcome=row["outcome"],
        **beginning_of(row),
    )
