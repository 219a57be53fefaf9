"""Runs with what was logged to them, whole pages at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.entities import (
    DatasetInput,
    LatestMetrics,
    ModelOutput,
    Run,
    RunInfo,
)
from services.tracking.domain.points import Columns, united
from services.tracking.domain.summaries import latest
from services.tracking.store import log


async def load_runs(connection: Connection, *, project: str, run_ids: Sequence[str]) -> list[Run]:
    """Runs in any stage, in the order given, with all that was logged to them; two statements.

    What is not there is left out. The log is read first: what is folded in between is seen
    twice, which does not change which point is the latest.
    """
    unfolded = await log.pending(connection, run_ids)
    rows = await connection.fetch(_LOAD, list(run_ids), project)
    runs = [_run_of(row) for row in rows]
    if not unfolded:
        return runs
    return [_with_latest(run, unfolded.get(run.info.run_id)) for run in runs]


def _with_latest(run: Run, parts: Sequence[Columns] | None) -> Run:
    return run if parts is None else replace(run, metrics=latest(run.metrics, united(parts)))


def info_of(row: asyncpg.Record) -> RunInfo:
    """A row of `run`."""
    return RunInfo(
        run_id=row["run_id"],
        experiment_id=str(row["experiment_id"]),
        name=row["name"],
        user_id=row["user_id"],
        status=row["status"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        artifact_uri=row["artifact_uri"],
        lifecycle_stage=row["lifecycle_stage"],
    )


def _run_of(row: asyncpg.Record) -> Run:
    models = row["models"] or ()
    return Run(
        info=info_of(row),
        metrics=LatestMetrics(
            keys=row["metric_keys"] or (),
            values=row["metric_values"] or (),
            timestamps=row["metric_timestamps"] or (),
            steps=row["metric_steps"] or (),
        ),
        params=dict(zip(row["param_keys"] or (), row["param_values"] or (), strict=True)),
        tags=dict(zip(row["tag_keys"] or (), row["tag_values"] or (), strict=True)),
        datasets=[DatasetInput(**dataset) for dataset in row["datasets"] or ()],
        model_inputs=[model_id for way, model_id, _ in models if way == "input"],
        model_outputs=[
            ModelOutput(model_id=model_id, step=step)
            for way, model_id, step in models
            if way == "output"
        ],
    )


# Sorted below the aggregates, so that the order of the primary keys serves.
_LOAD: Final = """
select run.*, metric.*, param.*, tag.*, used.*, model.*
from unnest($1::text[]) with ordinality as wanted (run_id, place)
join run using (run_id)
cross join lateral (
    select array_agg(key) as metric_keys, array_agg(last_value) as metric_values,
        array_agg(last_timestamp) as metric_timestamps, array_agg(last_step) as metric_steps
    from (
        select key, last_value, last_timestamp, last_step from metric_summary
        where metric_summary.run_id = run.run_id order by key
    ) as sorted
) as metric
cross join lateral (
    select array_agg(key) as param_keys, array_agg(value) as param_values
    from (
        select key, value from param where param.run_id = run.run_id order by key
    ) as sorted
) as param
cross join lateral (
    select array_agg(key) as tag_keys, array_agg(value) as tag_values
    from (
        select key, value from tag where tag.run_id = run.run_id order by key
    ) as sorted
) as tag
cross join lateral (
    select json_agg(
        json_build_object('name', dataset.name, 'digest', dataset.digest,
            'source_type', dataset.source_type, 'source', dataset.source,
            'schema', dataset.schema, 'profile', dataset.profile, 'tags', run_dataset.tags)
        order by dataset_id
    ) as datasets
    from run_dataset join dataset using (dataset_id) where run_dataset.run_id = run.run_id
) as used
cross join lateral (
    select json_agg(json_build_array(direction, model_id, step)
        order by direction, step, model_id) as models
    from run_model where run_model.run_id = run.run_id
) as model
where run.project = $2
order by wanted.place
"""
