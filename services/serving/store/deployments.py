"""SQL of deployments: what events ask of serving, and what is to be done next."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from headrace.events import FileRef
from headrace.runtime.db import Connection
from services.serving.domain import Deployment, Order, State

_MODEL = "project=$1 and model=$2"


async def take_order(connection: Connection, order: Order) -> bool:
    """Note what an event asks for; False if this event was noted before.

    A new candidate takes the place of the one before it.
    """
    if order.kind == "warm":
        await drop_candidates(connection, project=order.project, model=order.model)
    inserted: str = await connection.execute(
        "insert into deployment (project, model, version, kind, digest, files, cause_event,"
        " correlation_id, traceparent, promoted_at, converted, promoted_event)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        " on conflict (cause_event) do nothing",
        order.project,
        order.model,
        order.version,
        order.kind,
        order.digest,
        [file.model_dump() for file in order.files],
        order.cause_event,
        order.correlation_id,
        order.traceparent,
        order.promoted_at,
        [file.model_dump() for file in order.converted],
        order.promoted_event,
    )
    return inserted == "INSERT 0 1"


async def drop_overtaken_promotions(connection: Connection, *, project: str, model: str) -> None:
    """Do not deploy what was promoted before a version that answers, nor keep it warm.

    A schema that was lost gets old promotions again, after it took over the present one.
    """
    await connection.execute(_DROP_OVERTAKEN_PROMOTIONS, project, model)


async def is_newer(connection: Connection, order: Order) -> bool:
    """Whether a promotion is unknown here and newer than all that are known of its model."""
    newer: bool = await connection.fetchval(
        f"select not exists (select from deployment where {_MODEL} and kind='deploy'"  # noqa: S608
        " and (cause_event=$3 or promoted_at > $4))",
        order.project,
        order.model,
        order.cause_event,
        order.promoted_at,
    )
    return newer


async def unrestored(connection: Connection, *, cause_event: str) -> Deployment | None:
    """The deployment that an event asked for, if it waits and its model has no champion."""
    row = await connection.fetchrow(
        "select d.* from deployment d left join champion c using (project, model)"
        " where d.cause_event=$1 and d.state='open' and c.deployment is null",
        cause_event,
    )
    return deployment_of_row(row) if row else None


async def drop_candidates(
    connection: Connection, *, project: str, model: str, version: int | None = None
) -> None:
    """Forget warm versions of a model, or one of them: they need not be in memory any more."""
    await connection.execute(
        f"update deployment set state='dropped', finished_at=now() where {_MODEL}"  # noqa: S608
        " and kind='warm' and state in ('open', 'done') and ($3::int is null or version=$3)",
        project,
        model,
        version,
    )


async def newest_of(connection: Connection, *, project: str, model: str) -> list[Deployment]:
    """What was asked for last of a model, of each kind, the newest first; not what was dropped."""
    rows = await connection.fetch(
        f"select distinct on (kind) * from deployment where {_MODEL}"  # noqa: S608
        " and state <> 'dropped' order by kind, number desc",
        project,
        model,
    )
    found = [deployment_of_row(row) for row in rows]
    return sorted(found, key=lambda each: each.number, reverse=True)


async def models_with_work(connection: Connection, *, project: str) -> list[str]:
    """Models that have something to do."""
    rows = await connection.fetch(
        "select distinct model from deployment where project=$1 and state in ('open', 'flipping')",
        project,
    )
    return [row["model"] for row in rows]


async def next_work(connection: Connection, *, project: str, model: str) -> Deployment | None:
    """What to do next for a model: finish a flip, else deploy, else warm; the oldest first."""
    row = await connection.fetchrow(
        f"select * from deployment where {_MODEL} and state in ('open', 'flipping')"  # noqa: S608
        " order by state='flipping' desc, kind='deploy' desc, number limit 1",
        project,
        model,
    )
    return deployment_of_row(row) if row else None


async def by_number(connection: Connection, number: int) -> Deployment:
    """A deployment that exists."""
    (row,) = await connection.fetch("select * from deployment where number=$1", number)
    return deployment_of_row(row)


async def history(
    connection: Connection, *, project: str, model: str, limit: int
) -> list[Deployment]:
    """The latest deployments of a model, newest first."""
    rows = await connection.fetch(
        f"select * from deployment where {_MODEL} order by number desc limit $3",  # noqa: S608
        project,
        model,
        limit,
    )
    return [deployment_of_row(row) for row in rows]


async def models(connection: Connection, *, project: str) -> Sequence[str]:
    """Every model that serving was ever asked to serve."""
    rows = await connection.fetch(
        "select distinct model from deployment where project=$1 order by model", project
    )
    return [row["model"] for row in rows]


async def candidate_of(connection: Connection, *, project: str, model: str) -> Deployment | None:
    """The newest warm version that was asked for after the champion, if any."""
    row = await connection.fetchrow(
        f"select * from deployment where {_MODEL} and kind='warm' and state='done'"  # noqa: S608
        " and number > coalesce((select deployment from champion where project=$1 and model=$2), 0)"
        " order by number desc limit 1",
        project,
        model,
    )
    return deployment_of_row(row) if row else None


_DROP_OVERTAKEN_PROMOTIONS = """
with overtaken as (
    update deployment set state='dropped', finished_at=now()
    where project=$1 and model=$2 and kind='deploy' and state='open'
        and promoted_at < (select max(promoted_at) from deployment where project=$1 and model=$2
            and kind='deploy' and state in ('flipping', 'done'))
    returning version, number
)
update deployment warmed set state='dropped', finished_at=now() from overtaken
where project=$1 and model=$2 and kind='warm' and state in ('open', 'done')
    and warmed.version = overtaken.version and warmed.number < overtaken.number
"""


def deployment_of_row(row: asyncpg.Record) -> Deployment:
    return Deployment(
        number=row["number"],
        order=Order(
            project=row["project"],
            model=row["model"],
            version=row["version"],
            kind=row["kind"],
            digest=row["digest"],
            files=tuple(FileRef.model_validate(file) for file in row["files"]),
            cause_event=row["cause_event"],
            correlation_id=row["correlation_id"],
            traceparent=row["traceparent"],
            promoted_at=row["promoted_at"],
            converted=tuple(FileRef.model_validate(file) for file in row["converted"]),
            promoted_event=row["promoted_event"],
        ),
        state=State(row["state"]),
        previous_version=row["previous_version"],
        requested_at=row["requested_at"],
        finished_at=row["finished_at"],
        load_ms=row["load_ms"],
        swap_ms=row["swap_ms"],
        reason=row["reason"],
        deployed_event=row["deployed_event"],
        first_prediction_id=row["first_prediction_id"],
        first_answer_at=row["first_answer_at"],
        native_because=row["native_because"],
    )
