"""SQL of serving."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from headrace.events import FileRef
from headrace.runtime.db import Connection
from services.serving.domain import Champion, Deployment, Order, State

_MODEL = "project=$1 and model=$2"


async def take_order(connection: Connection, order: Order) -> bool:
    """Note what an event asks for; False if this event was noted before.

    A new candidate takes the place of the one before it.
    """
    if order.kind == "warm":
        await drop_candidates(connection, project=order.project, model=order.model)
    inserted: str = await connection.execute(
        "insert into deployment (project, model, version, kind, digest, files, cause_event,"
        " correlation_id, traceparent, promoted_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (cause_event) do nothing",
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
    return _deployment(row) if row else None


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
    return _deployment(row) if row else None


async def champions(connection: Connection, *, project: str) -> list[Champion]:
    """Who must be answering, for every model."""
    rows = await connection.fetch(
        "select deployment, pinned from champion where project=$1 order by model", project
    )
    return [await _champion(connection, row) for row in rows]


async def champion_of(connection: Connection, *, project: str, model: str) -> Champion | None:
    """Who must be answering for a model."""
    row = await connection.fetchrow(
        f"select deployment, pinned from champion where {_MODEL}",  # noqa: S608
        project,
        model,
    )
    return await _champion(connection, row) if row else None


async def candidate_of(connection: Connection, *, project: str, model: str) -> Deployment | None:
    """The newest warm version that was asked for after the champion, if any."""
    row = await connection.fetchrow(
        f"select * from deployment where {_MODEL} and kind='warm' and state='done'"  # noqa: S608
        " and number > coalesce((select deployment from champion where project=$1 and model=$2), 0)"
        " order by number desc limit 1",
        project,
        model,
    )
    return _deployment(row) if row else None


async def finish_warm(connection: Connection, number: int, *, load_ms: float) -> bool:
    """A candidate is in memory; False if it was dropped meanwhile."""
    moved: str = await connection.execute(
        "update deployment set state='done', finished_at=now(), load_ms=$2"
        " where number=$1 and state='open'",
        number,
        load_ms,
    )
    return moved == "UPDATE 1"


async def begin_flip(connection: Connection, deployment: Deployment, *, load_ms: float) -> None:
    """Make it champion, and pin the one before. After this a restart restores the new one."""
    order = deployment.order
    before = await connection.fetchrow(
        "select champion.*, d.version from champion join deployment d on d.number = deployment"
        " where champion.project=$1 and champion.model=$2 for update of champion",
        order.project,
        order.model,
    )
    pinned = None
    if before is not None:
        same = before["version"] == order.version
        pinned = before["pinned"] if same else before["deployment"]
    await connection.execute(
        "insert into champion (project, model, deployment, pinned) values ($1, $2, $3, $4)"
        " on conflict (project, model) do update set deployment=excluded.deployment,"
        " pinned=excluded.pinned",
        order.project,
        order.model,
        deployment.number,
        pinned,
    )
    await connection.execute(
        "update deployment set state='flipping', load_ms=$2, previous_version=$3 where number=$1",
        deployment.number,
        load_ms,
        before["version"] if before is not None else None,
    )


async def finish_flip(
    connection: Connection, number: int, *, swap_ms: float, at: datetime
) -> Deployment | None:
    """Every worker answers with it; None if that was already known."""
    row = await connection.fetchrow(
        "update deployment set state='done', finished_at=$3, swap_ms=$2"
        " where number=$1 and state='flipping' returning *",
        number,
        swap_ms,
        at,
    )
    if row is None:
        return None
    done = _deployment(row)
    await _drop_overtaken(connection, done)
    return done


async def note_deployed_event(connection: Connection, number: int, event_id: str) -> None:
    """Remember the ModelDeployed that told of it, since the first answer names it as its cause."""
    await connection.execute(
        "update deployment set deployed_event=$2 where number=$1", number, event_id
    )


async def fail(connection: Connection, deployment: Deployment, *, reason: str) -> bool:
    """Give up; a champion that cannot answer makes room for the one before it.

    False if it was finished or dropped meanwhile.
    """
    row = await connection.fetchrow(
        "update deployment set state='failed', finished_at=now(), reason=$2"
        " where number=$1 and state in ('open', 'flipping') returning number",
        deployment.number,
        reason,
    )
    if row is None:
        return False
    if deployment.order.kind == "deploy":
        await _drop_overtaken(connection, deployment)
    await connection.execute(
        "delete from champion where deployment=$1 and pinned is null", deployment.number
    )
    await connection.execute(
        "update champion set deployment=pinned, pinned=null where deployment=$1", deployment.number
    )
    return True


async def note_first_answer(
    connection: Connection, number: int, *, prediction_id: str, at: datetime
) -> Deployment | None:
    """Keep the first answer of a deployment; None if there was one already."""
    row = await connection.fetchrow(
        "update deployment set first_prediction_id=$2, first_answer_at=$3"
        " where number=$1 and first_prediction_id is null returning *",
        number,
        prediction_id,
        at,
    )
    return _deployment(row) if row else None


async def by_number(connection: Connection, number: int) -> Deployment:
    """A deployment that exists."""
    (row,) = await connection.fetch("select * from deployment where number=$1", number)
    return _deployment(row)


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
    return [_deployment(row) for row in rows]


async def models(connection: Connection, *, project: str) -> Sequence[str]:
    """Every model that serving was ever asked to serve."""
    rows = await connection.fetch(
        "select distinct model from deployment where project=$1 order by model", project
    )
    return [row["model"] for row in rows]


async def note_unloaded(connection: Connection, *, project: str, model: str) -> None:
    """A model stays out of memory from now on."""
    await connection.execute(
        "insert into unloaded (project, model) values ($1, $2) on conflict do nothing",
        project,
        model,
    )


async def forget_unloaded(connection: Connection, *, project: str, model: str) -> None:
    """A model is where its events have it again."""
    await connection.execute("delete from unloaded where project=$1 and model=$2", project, model)


async def unloaded(connection: Connection, *, project: str) -> set[str]:
    """Models that stay out of memory."""
    rows = await connection.fetch("select model from unloaded where project=$1", project)
    return {row["model"] for row in rows}


async def log_rules(
    connection: Connection, *, project: str
) -> list[tuple[str, int, dict[str, object]]]:
    """The newest rules of the prediction log of every model, and their version."""
    rows = await connection.fetch(
        "select distinct on (model) model, version, rules from log_rules where project=$1"
        " order by model, version desc",
        project,
    )
    return [(row["model"], row["version"], row["rules"]) for row in rows]


async def add_log_rules(
    connection: Connection, *, project: str, model: str, rules: dict[str, object], by: str
) -> int:
    """Keep new rules of a model; returns their version. Inside a transaction."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtext($1))", f"log_rules/{project}/{model}"
    )
    version: int = await connection.fetchval(
        "insert into log_rules (project, model, version, rules, changed_by)"
        " select $1, $2, coalesce(max(version), 0) + 1, $3, $4 from log_rules"
        " where project=$1 and model=$2 returning version",
        project,
        model,
        rules,
        by,
    )
    return version


async def _drop_overtaken(connection: Connection, deployment: Deployment) -> None:
    """A version that was deployed, or could not be, need not be warmed for it any more."""
    order = deployment.order
    await connection.execute(
        f"update deployment set state='dropped', finished_at=now() where {_MODEL}"  # noqa: S608
        " and kind='warm' and state='open' and version=$3 and number < $4",
        order.project,
        order.model,
        order.version,
        deployment.number,
    )


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


async def _champion(connection: Connection, row: asyncpg.Record) -> Champion:
    pinned = row["pinned"]
    return Champion(
        deployment=await by_number(connection, row["deployment"]),
        pinned=await by_number(connection, pinned) if pinned is not None else None,
    )


def _deployment(row: asyncpg.Record) -> Deployment:
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
    )
