"""SQL of conversions to ONNX."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.events import FileRef
from headrace.runtime.db import Connection
from services.serving.domain import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A version to be converted; `attempt` is which one this is, from 1."""

    number: int
    project: str
    model: str
    version: int
    digest: str
    files: tuple[FileRef, ...]
    cause_event: str
    correlation_id: str
    attempt: int


async def ask(connection: Connection, order: Order) -> None:
    """Have a version converted; an event that asked before asks for nothing new."""
    await connection.execute(
        "insert into conversion (project, model, version, digest, files, cause_event,"
        " correlation_id) values ($1, $2, $3, $4, $5, $6, $7) on conflict (cause_event) do nothing",
        order.project,
        order.model,
        order.version,
        order.digest,
        [file.model_dump() for file in order.files],
        order.cause_event,
        order.correlation_id,
    )


async def begin_next(connection: Connection, *, project: str) -> Waiting | None:
    """The version that waits longest; the attempt counts from now on, whoever dies."""
    row = await connection.fetchrow(
        "update conversion set attempts = attempts + 1 where number = (select number"
        " from conversion where project = $1 and state = 'waiting' order by number limit 1)"
        " returning number, project, model, version, digest, files, cause_event, correlation_id,"
        " attempts as attempt",
        project,
    )
    if row is None:
        return None
    files = tuple(FileRef.model_validate(file) for file in row["files"])
    return Waiting(**{**row, "files": files})


async def take_back(connection: Connection, number: int) -> None:
    """An attempt that failed for a reason of ours does not count."""
    await connection.execute(
        "update conversion set attempts = attempts - 1 where number = $1", number
    )


async def finish(connection: Connection, number: int, *, state: str, reason: str) -> bool:
    """Note what became of it; False if that was noted before."""
    moved: str = await connection.execute(
        "update conversion set state = $2, reason = $3, finished_at = now()"
        " where number = $1 and state = 'waiting'",
        number,
        state,
        reason,
    )
    return moved == "UPDATE 1"
