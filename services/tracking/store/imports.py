"""Runs, models and experiments that come from elsewhere with their ids, times and stages.

Everything may come again, whole or in part: what is there already is not written twice and no
second event tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from headrace.errors import Conflict
from headrace.runtime.bus import Tx
from headrace.runtime.clock import Clock
from headrace.runtime.db import Connection
from services.tracking.domain.entities import (
    DEFAULT_EXPERIMENT,
    RUN_NAME_TAG,
    Experiment,
    RunInfo,
    model_artifact_root,
    run_artifact_root,
)
from services.tracking.domain.entries import told_of
from services.tracking.domain.imports import (
    FINGERPRINT_TAG,
    Home,
    ImportedModel,
    ImportedRun,
    check_home,
    check_residence,
)
from services.tracking.domain.naming import name_for
from services.tracking.store import experiments, inputs, metrics, models, runs, writes
from services.tracking.store.contents import info_of

_KNOWN: Final = {
    "run": """
        select given.id
        from unnest($2::text[], $3::text[]) as given (id, fingerprint)
        join run on run.run_id = given.id and run.project = $1
        join tag on tag.run_id = given.id and tag.key = $4 and tag.value = given.fingerprint
    """,
    "model": """
        select given.id
        from unnest($2::text[], $3::text[]) as given (id, fingerprint)
        join logged_model on logged_model.model_id = given.id and logged_model.project = $1
        join logged_model_tag as tag
            on tag.model_id = given.id and tag.key = $4 and tag.value = given.fingerprint
    """,
}


async def known(
    connection: Connection,
    kind: Literal["run", "model"],
    *,
    project: str,
    fingerprints: Mapping[str, str],
) -> list[str]:
    """Ids of what was imported to its end when the source looked as it does now."""
    rows = await connection.fetch(
        _KNOWN[kind], project, list(fingerprints), list(fingerprints.values()), FINGERPRINT_TAG
    )
    return [row["id"] for row in rows]


async def put_experiment(tx: Tx, home: Home, *, project: str, clock: Clock) -> Experiment:
    """The experiment of that name, with these tags added. Raises Conflict."""
    connection = tx.connection
    created = clock.now_ms() if home.creation_time is None else home.creation_time
    number = await experiments.ensure_experiment(
        connection, project=project, name=home.name, now_ms=created
    )
    found = await experiments.get_experiment(connection, project=project, number=number)
    check_home(home, found)
    if home.tags.items() - found.tags.items():
        await _set_experiment_tags(connection, number=number, tags=home.tags)
    return found


async def retire_experiment(tx: Tx, home: Home, found: Experiment, *, clock: Clock) -> None:
    """Delete an experiment that is deleted at its source, once no active run is in it."""
    if home.lifecycle_stage != "deleted" or found.lifecycle_stage != "active":
        return
    number = int(found.experiment_id)
    await tx.connection.execute(
        "select from experiment where experiment_id = $1 for no key update", number
    )
    await tx.connection.execute(
        """
        update experiment set lifecycle_stage = 'deleted', last_update_time = $2
        where experiment_id = $1 and experiment_id <> $3 and not exists
            (select from run where run.experiment_id = $1 and run.lifecycle_stage = 'active')
        """,
        number,
        clock.now_ms(),
        DEFAULT_EXPERIMENT,
    )


async def put_run(
    tx: Tx, home: Experiment, given: ImportedRun, *, project: str, clock: Clock
) -> RunInfo:
    """Add what a part brings to its run, made if it is new. Raises Conflict, InvalidInput."""
    connection, report = tx.connection, given.report
    run = await _run_of(tx, home, given, project=project)
    deleted = "deleted" in (run.lifecycle_stage, given.lifecycle_stage)
    if run.lifecycle_stage == "deleted":
        # Nobody sees it: it is deleted again before the commit.
        await runs.move_run(connection, project=project, run_id=run.run_id, stage="active")
    await writes.write_entry(tx, given.entry, project=project)
    if given.datasets:
        await inputs.add_datasets(
            connection,
            experiment=int(home.experiment_id),
            run_id=run.run_id,
            datasets=given.datasets,
        )
    if given.model_inputs:
        await inputs.add_model_inputs(connection, run_id=run.run_id, model_ids=given.model_inputs)
    if given.model_outputs:
        await inputs.add_model_outputs(connection, run_id=run.run_id, outputs=given.model_outputs)
    run = await writes.change_run(
        tx,
        run,
        project=project,
        clock=clock,
        chain=given.entry.chain,
        status=report.status,
        start_time=report.start_time,
        end_time=report.end_time,
    )
    if deleted:
        await runs.move_run(connection, project=project, run_id=run.run_id, stage="deleted")
    return run


async def put_model(tx: Tx, home: Experiment, given: ImportedModel, *, project: str) -> str:
    """Add a model with its id, or bring it up to date; returns where its files go. Conflict."""
    connection, model_id = tx.connection, given.model_id
    row = await connection.fetchrow(
        _PUT_MODEL,
        project,
        model_id,
        int(home.experiment_id),
        given.name,
        model_artifact_root(home.artifact_location, model_id),
        given.creation_timestamp,
        given.last_updated_timestamp,
        given.status,
        given.status_message,
        given.model_type,
        given.source_run_id,
    )
    if row is None:
        raise Conflict(f"Logged model with ID '{model_id}' already exists in another project.")
    check_residence(f"model {model_id}", lives_in=str(row["experiment_id"]), home=home)
    await models.add_model_params(connection, model_id=model_id, params=given.params)
    await models.set_model_tags(connection, model_id=model_id, tags=given.tags)
    if given.metrics:
        await metrics.add_model_metrics(connection, given.metrics)
    return str(row["artifact_location"])


async def _run_of(tx: Tx, home: Experiment, given: ImportedRun, *, project: str) -> RunInfo:
    """The run, locked in whatever stage it is."""
    run_id = given.report.run_id
    found = await _lock_run(tx.connection, project=project, run_id=run_id)
    if found is None:
        made = await _add_run(tx.connection, home, given, project=project)
        if made is not None:
            return made
        found = await _lock_run(tx.connection, project=project, run_id=run_id)
    if found is None:
        raise Conflict(f"Run with id={run_id} already exists in another project.")
    check_residence(f"run {run_id}", lives_in=found.experiment_id, home=home)
    return found


async def _lock_run(connection: Connection, *, project: str, run_id: str) -> RunInfo | None:
    row = await connection.fetchrow(
        "select * from run where project = $1 and run_id = $2 for no key update", project, run_id
    )
    return None if row is None else info_of(row)


async def _add_run(
    connection: Connection, home: Experiment, given: ImportedRun, *, project: str
) -> RunInfo | None:
    """A new run in status RUNNING; None if it is there."""
    report = given.report
    name = report.run_name or name_for(report.run_id)
    row = await connection.fetchrow(
        """
        with made as (
            insert into run (run_id, project, experiment_id, name, user_id, status, start_time,
                artifact_uri)
            values ($2, $1, $3, $4, $5, 'RUNNING', $6, $7)
            on conflict (run_id) do nothing
            returning *
        ), tagged as (
            insert into tag (run_id, experiment_id, key, value)
            select run_id, experiment_id, $8, name from made
        ), logged as (
            insert into run_log (run_id, told) select run_id, $9 from made
        )
        select * from made
        """,
        project,
        report.run_id,
        int(home.experiment_id),
        name,
        given.user_id,
        report.start_time or 0,
        run_artifact_root(home.artifact_location, report.run_id),
        RUN_NAME_TAG,
        told_of({}, {RUN_NAME_TAG: name}, given.entry.chain),
    )
    return None if row is None else info_of(row)


async def _set_experiment_tags(
    connection: Connection, *, number: int, tags: Mapping[str, str]
) -> None:
    ordered: Sequence[str] = sorted(tags)
    await connection.execute(
        """
        insert into experiment_tag (experiment_id, key, value)
        select $1, * from unnest($2::text[], $3::text[])
        on conflict (experiment_id, key) do update set value = excluded.value
        where experiment_tag.value <> excluded.value
        """,
        number,
        ordered,
        [tags[key] for key in ordered],
    )


_PUT_MODEL = """
insert into logged_model as model (project, model_id, experiment_id, name, artifact_location,
    creation_timestamp_ms, last_updated_timestamp_ms, status, status_message, model_type,
    source_run_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (model_id) do update set
    status = excluded.status, status_message = excluded.status_message,
    last_updated_timestamp_ms =
        greatest(model.last_updated_timestamp_ms, excluded.last_updated_timestamp_ms)
where model.project = excluded.project
returning experiment_id, artifact_location
"""
