"""Runs removed for good: their rows at once, their files by a sweep that a crash only delays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.runtime.db import Connection
from services.tracking.domain.errors import WrongStage, no_run
from services.tracking.domain.paths import own_prefix

_OF_A_RUN: Final = (
    "run_log",
    "metric_chunk",
    "metric_write",
    "metric_summary",
    "param",
    "tag",
    "run_dataset",
    "run_model",
    "trace_run",
)
_LAST_WRITE: Final = "8 days"
"""Longer than any signed URL for writing is valid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """Where the files of a purged run lie, if they are ours; `late` ones are looked at again."""

    run_id: str
    prefix: str | None
    late: bool


async def purge_run(connection: Connection, *, project: str, run_id: str) -> None:
    """Remove a deleted run, inside a transaction. Raises NotFound, WrongStage."""
    row = await connection.fetchrow(
        "select lifecycle_stage, artifact_uri from run where project = $1 and run_id = $2"
        " for update",
        project,
        run_id,
    )
    if row is None:
        raise no_run(run_id)
    if row["lifecycle_stage"] != "deleted":
        raise WrongStage(
            f"The run {run_id} must be in the 'deleted' state to be purged. Current state is "
            f"{row['lifecycle_stage']}."
        )
    await _remove_rows(connection, run_id)
    await connection.execute("delete from run where run_id = $1", run_id)
    await connection.execute(
        "insert into artifact_garbage (run_id, project, prefix) values ($1, $2, $3)"
        " on conflict (run_id) do update set prefix = excluded.prefix, purged_at = now(),"
        " emptied_at = null",
        run_id,
        project,
        own_prefix(row["artifact_uri"], run_id=run_id),
    )


async def runs_to_purge(
    connection: Connection, *, project: str, days: int, limit: int
) -> Sequence[str]:
    """Runs that are deleted for longer than some days, the longest first."""
    rows = await connection.fetch(
        "select run_id from run where project = $1 and lifecycle_stage = 'deleted'"
        " and deleted_at < now() - make_interval(days => $2) order by deleted_at limit $3",
        project,
        days,
        limit,
    )
    return [row["run_id"] for row in rows]


async def purged_lately(connection: Connection, *, project: str) -> Sequence[str]:
    """Runs that any process purged within the last minute."""
    run_ids: Sequence[str] = await connection.fetchval(
        "select coalesce(array_agg(run_id), '{}') from artifact_garbage"
        " where project = $1 and purged_at > now() - interval '1 minute'",
        project,
    )
    return run_ids


async def next_garbage(
    connection: Connection, *, project: str, without: Collection[str]
) -> Garbage | None:
    """What to empty next, but for some runs' files, or None."""
    row = await connection.fetchrow(
        f"select run_id, prefix, purged_at < now() - interval '{_LAST_WRITE}' as late"  # noqa: S608
        " from artifact_garbage where project = $1"
        f" and (emptied_at is null or purged_at < now() - interval '{_LAST_WRITE}')"
        " and run_id <> all($2) order by purged_at limit 1",
        project,
        list(without),
    )
    if row is None:
        return None
    return Garbage(run_id=row["run_id"], prefix=row["prefix"], late=row["late"])


async def is_back(connection: Connection, garbage: Garbage) -> bool:
    """Whether a run of this id exists again, imported: its files are no garbage."""
    found: bool = await connection.fetchval(
        "select exists (select from run where run_id = $1)", garbage.run_id
    )
    return found


async def note_emptied(connection: Connection, garbage: Garbage) -> None:
    """The files are gone; what was on its way when the run was purged may still come."""
    await connection.execute(
        "update artifact_garbage set emptied_at = now() where run_id = $1", garbage.run_id
    )


async def forget(connection: Connection, garbage: Garbage, *, back: bool) -> None:
    """Nothing can come any more: remove what came, inside a transaction, and the note of it."""
    if not back:
        await _remove_rows(connection, garbage.run_id)
    await connection.execute("delete from artifact_garbage where run_id = $1", garbage.run_id)


async def _remove_rows(connection: Connection, run_id: str) -> None:
    for table in _OF_A_RUN:
        await connection.execute(f"delete from {table} where run_id = $1", run_id)  # noqa: S608
