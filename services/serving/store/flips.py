"""SQL of what becomes of a deployment: warm, champion, failed."""

from __future__ import annotations

from datetime import datetime

from headrace.runtime.db import Connection
from services.serving.domain import Deployment
from services.serving.store.deployments import deployment_of_row

_MODEL = "project=$1 and model=$2"


async def finish_warm(connection: Connection, deployment: Deployment, *, load_ms: float) -> bool:
    """A candidate is in memory; False if it was dropped meanwhile."""
    moved: str = await connection.execute(
        "update deployment set state='done', finished_at=now(), load_ms=$2, native_because=$3"
        " where number=$1 and state='open'",
        deployment.number,
        load_ms,
        deployment.native_because,
    )
    return moved == "UPDATE 1"


async def note_native(connection: Connection, deployment: Deployment) -> None:
    """A restart serves the model itself, not its conversion."""
    await connection.execute(
        "update deployment set native_because=$2 where number=$1",
        deployment.number,
        deployment.native_because,
    )


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
        "update deployment set state='flipping', load_ms=$2, previous_version=$3,"
        " native_because=$4 where number=$1",
        deployment.number,
        load_ms,
        before["version"] if before is not None else None,
        deployment.native_because,
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
    done = deployment_of_row(row)
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
    return deployment_of_row(row) if row else None


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
