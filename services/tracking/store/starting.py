"""New runs, many of them by one statement."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from headrace.errors import Conflict
from headrace.runtime.db import Connection
from services.tracking.domain.entities import RunInfo
from services.tracking.domain.entries import NewRun, told_of
from services.tracking.domain.errors import inactive_experiment, no_experiment
from services.tracking.store.contents import info_of

_START = """
with given as (
    select * from unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
        $7::jsonb[]) with ordinality
        as given (run_id, experiment_id, name, user_id, start_time, told, place)
), home as (
    select experiment_id, artifact_location, lifecycle_stage from experiment
    where project = $1 and experiment_id = any($3::bigint[])
    order by experiment_id
    for share
), made as (
    insert into run (run_id, project, experiment_id, name, user_id, start_time, artifact_uri)
    select run_id, $1, experiment_id, name, user_id, start_time,
        rtrim(artifact_location, '/') || '/' || run_id || '/artifacts'
    from given join home using (experiment_id)
    where lifecycle_stage = 'active'
    order by place
    on conflict (run_id) do nothing
    returning *
), tagged as (
    insert into tag (run_id, experiment_id, key, value)
    select run_id, experiment_id, tags.key, tags.value
    from unnest($8::text[], $9::text[], $10::text[]) as tags (run_id, key, value)
    join made using (run_id)
), logged as (
    insert into run_log (run_id, told)
    select run_id, told from given join made using (run_id) order by place
)
select experiment_id, lifecycle_stage, null as run_id, null as name, null as user_id,
    null as status, null::bigint as start_time, null::bigint as end_time, null as artifact_uri
from home
union all
select experiment_id, lifecycle_stage, run_id, name, user_id, status, start_time, end_time,
    artifact_uri
from made
"""


async def start_runs(
    connection: Connection, runs: Sequence[NewRun], *, project: str
) -> list[RunInfo | Exception]:
    """Make runs with their tags, each in an active experiment; or why not: one outcome a run."""
    tags = [(new.run_id, key, value) for new in runs for key, value in new.all_tags.items()]
    rows = await connection.fetch(
        _START,
        project,
        [new.run_id for new in runs],
        [new.experiment for new in runs],
        [new.name for new in runs],
        [new.user_id for new in runs],
        [new.start_time for new in runs],
        [told_of({}, new.all_tags, new.chain) for new in runs],
        *map(list, zip(*tags, strict=True)),
    )
    made = {row["run_id"]: row for row in rows if row["run_id"] is not None}
    homes = {row["experiment_id"]: row["lifecycle_stage"] for row in rows}
    return [_outcome(new, made.get(new.run_id), homes) for new in runs]


def _outcome(new: NewRun, row: asyncpg.Record | None, homes: dict[int, str]) -> RunInfo | Exception:
    if row is not None:
        return info_of(row)
    stage = homes.get(new.experiment)
    if stage is None:
        return no_experiment(new.experiment)
    if stage != "active":
        return inactive_experiment(new.experiment, stage)
    return Conflict(f"Run with id={new.run_id} already exists.")
