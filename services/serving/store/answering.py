"""SQL of champions: which deployment answers for a model."""

from __future__ import annotations

import asyncpg

from headrace.runtime.db import Connection
from services.serving.domain import Champion
from services.serving.store.deployments import by_number


async def champions(connection: Connection, *, project: str) -> list[Champion]:
    """Who must be answering, for every model."""
    rows = await connection.fetch(
        "select deployment, pinned from champion where project=$1 order by model", project
    )
    return [await _champion(connection, row) for row in rows]


async def champion_of(connection: Connection, *, project: str, model: str) -> Champion | None:
    """Who must be answering for a model."""
    row = await connection.fetchrow(
        "select deployment, pinned from champion where project=$1 and model=$2",
        project,
        model,
    )
    return await _champion(connection, row) if row else None


async def _champion(connection: Connection, row: asyncpg.Record) -> Champion:
    pinned = row["pinned"]
    return Champion(
        deployment=await by_number(connection, row["deployment"]),
        pinned=await by_number(connection, pinned) if pinned is not None else None,
    )
