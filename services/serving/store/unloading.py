"""SQL of models that stay out of memory."""

from __future__ import annotations

from headrace.runtime.db import Connection


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
