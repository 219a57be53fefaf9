"""Scorers and their versions."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from headrace.ids import new_id
from headrace.runtime.db import Connection
from services.tracking.domain.scorers import ScorerVersion, no_scorer

_COLUMNS = "s.scorer_id, s.experiment_id, s.name, v.version, v.serialized_scorer, v.creation_time"
_FROM = "from scorer s join scorer_version v on v.scorer_id = s.scorer_id"


async def register(
    connection: Connection,
    *,
    project: str,
    experiment_id: int,
    name: str,
    serialized_scorer: str,
    now_ms: int,
) -> ScorerVersion:
    """The next version of a scorer, which may be its first."""
    rows = await connection.fetch(
        "with s as (insert into scorer (scorer_id, project, experiment_id, name, last_version)"
        " values ($1, $2, $3, $4, 1) on conflict (experiment_id, name)"
        " do update set last_version = scorer.last_version + 1 returning *), v as ("
        " insert into scorer_version (scorer_id, version, serialized_scorer, creation_time)"
        " select scorer_id, last_version, $5, $6 from s returning *)"
        " select s.scorer_id, s.experiment_id, s.name, v.version, v.serialized_scorer,"
        " v.creation_time from s, v",
        new_id(),
        project,
        experiment_id,
        name,
        serialized_scorer,
        now_ms,
    )
    return _read(rows[0])


async def newest(
    connection: Connection, *, project: str, experiments: Sequence[int] | None
) -> list[ScorerVersion]:
    """The last version of each scorer of some active experiments, None for all of them."""
    rows = await connection.fetch(
        f"select distinct on (s.experiment_id, s.name) {_COLUMNS} {_FROM}"
        " join experiment e on e.experiment_id = s.experiment_id"
        " where s.project = $1 and e.lifecycle_stage = 'active'"
        " and ($2::bigint[] is null or s.experiment_id = any($2))"
        " order by s.experiment_id, s.name, v.version desc",
        project,
        None if experiments is None else list(experiments),
    )
    return [_read(row) for row in rows]


async def versions(
    connection: Connection, *, project: str, experiment_id: int, name: str
) -> list[ScorerVersion]:
    """Every version of a scorer, oldest first. Raises NotFound."""
    rows = await connection.fetch(
        f"select {_COLUMNS} {_FROM} where s.project = $1 and s.experiment_id = $2 and s.name = $3"
        " order by v.version",
        project,
        experiment_id,
        name,
    )
    if not rows:
        raise no_scorer(name, experiment_id, None)
    return [_read(row) for row in rows]


async def get(
    connection: Connection, *, project: str, experiment_id: int, name: str, version: int | None
) -> ScorerVersion:
    """One version of a scorer, None for the last. Raises NotFound."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} {_FROM} where s.project = $1 and s.experiment_id = $2 and s.name = $3"
        " and ($4::int is null or v.version = $4) order by v.version desc limit 1",
        project,
        experiment_id,
        name,
        version,
    )
    if row is None:
        raise no_scorer(name, experiment_id, version)
    return _read(row)


async def delete(
    connection: Connection, *, project: str, experiment_id: int, name: str, version: int | None
) -> None:
    """Delete a version, None for all; a scorer goes with its last version. Raises NotFound."""
    scorer = await connection.fetchval(
        "select scorer_id from scorer where project = $1 and experiment_id = $2 and name = $3"
        " for update",
        project,
        experiment_id,
        name,
    )
    gone = await connection.fetch(
        "delete from scorer_version where scorer_id = $1 and ($2::int is null or version = $2)"
        " returning version",
        scorer,
        version,
    )
    if not gone:
        raise no_scorer(name, experiment_id, version)
    await connection.execute(
        "delete from scorer s where scorer_id = $1"
        " and not exists (select from scorer_version v where v.scorer_id = s.scorer_id)",
        scorer,
    )


def _read(row: asyncpg.Record) -> ScorerVersion:
    return ScorerVersion(
        scorer_id=str(row["scorer_id"]),
        experiment_id=row["experiment_id"],
        name=row["name"],
        version=row["version"],
        serialized_scorer=row["serialized_scorer"],
        creation_time=row["creation_time"],
    )
