"""SQL of what models take in memory."""

from __future__ import annotations

from headrace.runtime.db import Connection


async def note(connection: Connection, *, project: str, contents: str, size: int) -> None:
    """Contents take `size` bytes in a worker; the newest measure counts."""
    await connection.execute(
        "insert into model_memory (project, contents, bytes) values ($1, $2, $3)"
        " on conflict (project, contents) do update"
        " set bytes = excluded.bytes, measured_at = now()",
        project,
        contents,
        size,
    )


async def measured(connection: Connection, *, project: str, contents: str) -> int | None:
    """What contents take; None if nobody measured."""
    size: int | None = await connection.fetchval(
        "select bytes from model_memory where project=$1 and contents=$2", project, contents
    )
    return size
