"""Changes to one run, each with the events that tell of it in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.runtime.bus import Tx
from headrace.runtime.clock import Clock
from headrace.runtime.db import Connection
from services.tracking.domain.batches import Batch, Written, changed_param, changed_params
from services.tracking.domain.entities import RUN_NAME_TAG, RunInfo, RunStatus
from services.tracking.domain.facts import has_finished, run_finished, run_logged
from services.tracking.store import metrics, runs


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """A run to be made; `name` is what its `mlflow.runName` tag will say."""

    run_id: str
    experiment: int
    name: str
    start_time: int
    user_id: str = ""
    tags: Mapping[str, str]


async def start_run(tx: Tx, new: NewRun, *, project: str) -> RunInfo:
    """Make a run in status RUNNING. Raises NotFound, InvalidInput, Conflict."""
    tags = {**new.tags, RUN_NAME_TAG: new.name}
    run = await runs.create_run(
        tx.connection,
        project=project,
        run_id=new.run_id,
        experiment=new.experiment,
        name=new.name,
        user_id=new.user_id,
        status="RUNNING",
        start_time=new.start_time,
        end_time=None,
        tags=tags,
    )
    tx.emit(run_logged(project, run, Written(tags=tags)))
    return run


async def change_run(
    tx: Tx,
    before: RunInfo,
    *,
    project: str,
    clock: Clock,
    name: str | None = None,
    status: RunStatus | None = None,
    start_time: int | None = None,
    end_time: int | None = None,
) -> RunInfo:
    """Change what is given of a locked run; a repetition says nothing."""
    renamed = name if name and name != before.name else None
    after = await runs.update_run(
        tx.connection,
        before,
        name=name or None,
        status=status,
        start_time=start_time,
        end_time=end_time,
    )
    if renamed is not None:
        tx.emit(run_logged(project, after, Written(tags={RUN_NAME_TAG: renamed})))
    if has_finished(before, after):
        summaries = await metrics.get_summaries(tx.connection, run_id=after.run_id)
        tx.emit(run_finished(project, after, summaries.values(), now=clock.now()))
    return after


async def write_batch(
    tx: Tx, *, project: str, run: RunInfo, batch: Batch, single_param: bool = False
) -> Written:
    """Apply a batch to a locked run and say what it changed.

    A batch that was applied before changes nothing and says nothing. Raises InvalidInput if a
    param would change (`single_param` chooses between MLflow's two texts).
    """
    connection = tx.connection
    params = await _write_params(connection, run.run_id, batch.params, single=single_param)
    summaries = await metrics.write_points(connection, run_id=run.run_id, points=batch.points)
    if batch.model_metrics:
        await metrics.add_model_metrics(connection, batch.model_metrics)
    tags = await _write_tags(connection, run, batch.tags)
    written = Written(params=params, tags=tags, metrics=summaries)
    if written:
        tx.emit(run_logged(project, run, written))
    return written


async def _write_params(
    connection: Connection, run_id: str, params: Mapping[str, str], *, single: bool
) -> dict[str, str]:
    if not params:
        return {}
    before = await runs.add_params(connection, run_id=run_id, params=params)
    changes = [
        (key, before[key], value)
        for key, value in params.items()
        if key in before and before[key] != value
    ]
    if changes and single:
        raise changed_param(run_id, *changes[0])
    if changes:
        raise changed_params(run_id, changes)
    return {key: value for key, value in params.items() if key not in before}


async def _write_tags(
    connection: Connection, run: RunInfo, tags: Mapping[str, str]
) -> dict[str, str]:
    if not tags:
        return {}
    name = tags.get(RUN_NAME_TAG)
    if name and name != run.name:
        await runs.update_run(connection, run, name=name)
        rest = {key: value for key, value in tags.items() if key != RUN_NAME_TAG}
        return {RUN_NAME_TAG: name, **await runs.set_tags(connection, run_id=run.run_id, tags=rest)}
    return await runs.set_tags(connection, run_id=run.run_id, tags=tags)
