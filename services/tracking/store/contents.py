"""Runs with what was logged to them, whole pages at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
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
    """Runs in any stage, in the order given, with all that was logged to them; three statements.

    What is not there is left out. The log is read first: what is folded in between is seen
    twice, which does not change which point is the latest. What was logged is read last: a run
    that is seen to have finished is seen with all of it.
    """
    unfolded = await log.pending(connection, run_ids)
    rows = await connection.fetch(_RUNS, list(run_ids), project)
    if not rows:
        return []
    infos = [info_of(row) for row in rows]
    (contents,) = await connection.fetch(_CONTENTS, [info.run_id for info in infos])
    runs = _runs_of(infos, contents)
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


def _runs_of(infos: Sequence[RunInfo], contents: asyncpg.Record) -> list[Run]:
    """Runs with their parts of the columns that hold what was logged to all of them."""
    metrics = _spanned(contents["metric_places"], len(infos))
    params, tags = _pairs_of(contents, "param", len(infos)), _pairs_of(contents, "tag", len(infos))
    columns = [
        contents[f"metric_{name}"] or () for name in ("keys", "values", "timestamps", "steps")
    ]
    datasets, models = contents["datasets"] or {}, contents["models"] or {}
    runs = []
    for place, (info, span) in enumerate(zip(infos, metrics, strict=True)):
        keys, values, timestamps, steps = (column[span] for column in columns)
        used = models.get(info.run_id, ())
        runs.append(
            Run(
                info=info,
                metrics=LatestMetrics(keys=keys, values=values, timestamps=timestamps, steps=steps),
                params=params[place],
                tags=tags[place],
                datasets=[DatasetInput(**dataset) for dataset in datasets.get(info.run_id, ())],
                model_inputs=[model_id for way, model_id, _ in used if way == "input"],
                model_outputs=[
                    ModelOutput(model_id=model_id, step=step)
                    for way, model_id, step in used
                    if way == "output"
                ],
            )
        )
    return runs


def _spanned(places: Sequence[int] | None, most: int) -> list[slice]:
    """Where each place from 1 to `most` stands in a column that is in their order."""
    count = Counter(places or ())
    ends = list(accumulate((count[place] for place in range(1, most + 1)), initial=0))
    return [slice(start, end) for start, end in pairwise(ends)]


def _pairs_of(contents: asyncpg.Record, kind: str, most: int) -> list[dict[str, str]]:
    keys, values = contents[f"{kind}_keys"] or (), contents[f"{kind}_values"] or ()
    return [
        dict(zip(keys[span], values[span], strict=True))
        for span in _spanned(contents[f"{kind}_places"], most)
    ]


_RUNS: Final = """
select run.* from unnest($1::text[]) with ordinality as wanted (run_id, place)
join run using (run_id)
where run.project = $2
order by wanted.place
"""

# One row, with columns for all runs: an array costs far more than an element of it. A lateral part
# is scanned place by place, and sorted within one as the primary key is.
_CONTENTS: Final = """
with wanted as not materialized (
    select run_id, place from unnest($1::text[]) with ordinality as given (run_id, place)
)
select metric.*, param.*, tag.*, used.*, model.*
from (
    select array_agg(place) as metric_places, array_agg(key) as metric_keys,
        array_agg(last_value) as metric_values, array_agg(last_timestamp) as metric_timestamps,
        array_agg(last_step) as metric_steps
    from wanted cross join lateral (
        select key, last_value, last_timestamp, last_step from metric_summary
        where metric_summary.run_id = wanted.run_id order by key
    ) as sorted
) as metric
cross join (
    select array_agg(place) as param_places, array_agg(key) as param_keys,
        array_agg(value) as param_values
    from wanted cross join lateral (
        select key, value from param where param.run_id = wanted.run_id order by key
    ) as sorted
) as param
cross join (
    select array_agg(place) as tag_places, array_agg(key) as tag_keys,
        array_agg(value) as tag_values
    from wanted cross join lateral (
        select key, value from tag where tag.run_id = wanted.run_id order by key
    ) as sorted
) as tag
cross join (
    select json_object_agg(run_id, datasets) as datasets
    from (
        select run_id, json_agg(
            json_build_object('name', dataset.name, 'digest', dataset.digest,
                'source_type', dataset.source_type, 'source', dataset.source,
                'schema', dataset.schema, 'profile', dataset.profile, 'tags', run_dataset.tags)
            order by dataset_id
        ) as datasets
        from run_dataset join dataset using (dataset_id)
        where run_dataset.run_id = any($1)
        group by run_id
    ) as by_run
) as used
cross join (
    select json_object_agg(run_id, models) as models
    from (
        select run_id, json_agg(json_build_array(direction, model_id, step)
            order by direction, step, model_id) as models
        from run_model where run_id = any($1) group by run_id
    ) as by_run
) as model
"""
