"""Logged models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from headrace.errors import NotFound
from headrace.runtime.db import Connection
from services.tracking.domain.entities import LoggedModel, Metric, ModelMetric
from services.tracking.domain.errors import inactive_experiment, no_model
from services.tracking.domain.search import Clause, Condition, Order, touches_metrics
from services.tracking.store.experiments import get_experiment
from services.tracking.store.registrations import registrations_of
from services.tracking.store.sql import Arguments, conditioned, direction, keyed, measured, select


async def create_model(
    connection: Connection,
    *,
    project: str,
    model_id: str,
    experiment: int,
    name: str,
    model_type: str,
    source_run_id: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    now_ms: int,
) -> LoggedModel:
    """A new model in an active experiment, its files still to come. NotFound, InvalidInput."""
    made = await connection.fetchval(
        """
        insert into logged_model (model_id, project, experiment_id, name, artifact_location,
            creation_timestamp_ms, last_updated_timestamp_ms, model_type, source_run_id)
        select $2, $1, experiment_id, $4,
            rtrim(artifact_location, '/') || '/models/' || $2 || '/artifacts', $5, $5, $6, $7
        from experiment
        where project = $1 and experiment_id = $3 and lifecycle_stage = 'active'
        returning model_id
        """,
        project,
        model_id,
        experiment,
        name,
        now_ms,
        model_type,
        source_run_id,
    )
    if made is None:
        found = await get_experiment(connection, project=project, number=experiment)
        raise inactive_experiment(experiment, found.lifecycle_stage)
    await add_model_params(connection, model_id=model_id, params=params)
    await set_model_tags(connection, model_id=model_id, tags=tags)
    return await get_model(connection, project=project, model_id=model_id)


async def get_model(
    connection: Connection, *, project: str, model_id: str, deleted: bool = False
) -> LoggedModel:
    """A model; a deleted one only if asked for. Raises NotFound."""
    rows = await connection.fetch(
        "select * from logged_model where project = $1 and model_id = $2"
        " and (lifecycle_stage = 'active' or $3)",
        project,
        model_id,
        deleted,
    )
    if not rows:
        raise no_model(model_id)
    return (await _with_contents(connection, rows))[0]


async def lock_model(connection: Connection, *, project: str, model_id: str) -> None:
    """Hold an active model until the transaction ends. Raises NotFound."""
    found = await connection.fetchval(
        "select model_id from logged_model where project = $1 and model_id = $2"
        " and lifecycle_stage = 'active' for no key update",
        project,
        model_id,
    )
    if found is None:
        raise no_model(model_id)


async def finalize_model(
    connection: Connection, *, model_id: str, status: str, now_ms: int
) -> None:
    """Set the status of a locked model."""
    await connection.execute(
        "update logged_model set status = $2, last_updated_timestamp_ms = $3 where model_id = $1",
        model_id,
        status,
        now_ms,
    )


async def delete_model(connection: Connection, *, model_id: str, now_ms: int) -> None:
    """Hide a locked model."""
    await connection.execute(
        "update logged_model set lifecycle_stage = 'deleted', last_updated_timestamp_ms = $2"
        " where model_id = $1",
        model_id,
        now_ms,
    )


async def add_model_params(
    connection: Connection, *, model_id: str, params: Mapping[str, str]
) -> None:
    """Add params to a model; what is there stays as it is."""
    await connection.execute(
        "insert into logged_model_param (model_id, key, value)"
        " select $1, * from unnest($2::text[], $3::text[]) on conflict do nothing",
        model_id,
        list(params),
        list(params.values()),
    )


async def set_model_tags(connection: Connection, *, model_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a model."""
    await connection.execute(
        "insert into logged_model_tag (model_id, key, value)"
        " select $1, * from unnest($2::text[], $3::text[])"
        " on conflict (model_id, key) do update set value = excluded.value",
        model_id,
        list(tags),
        list(tags.values()),
    )


async def delete_model_tag(connection: Connection, *, model_id: str, key: str) -> None:
    """Remove a tag of a model. Raises NotFound."""
    gone = await connection.fetchval(
        "delete from logged_model_tag where model_id = $1 and key = $2 returning key",
        model_id,
        key,
    )
    if gone is None:
        raise NotFound(f"No tag with key {key!r} found for model with ID {model_id!r}.")


async def search_models(
    connection: Connection,
    *,
    project: str,
    experiments: Sequence[int],
    condition: Condition,
    datasets: Sequence[tuple[str, str]],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[LoggedModel]:
    """Active models that match; ties by latest creation, then by id.

    `datasets` are (name, digest or "") pairs: metric clauses are judged on them, and without a
    metric clause the model must have some metric on one of them.
    """
    arguments = Arguments()
    conditions = [
        f"logged_model.project = {arguments.bind(project, 'text')}",
        f"logged_model.experiment_id = any({arguments.bind(list(experiments), 'bigint[]')})",
        "logged_model.lifecycle_stage = 'active'",
        f"({conditioned(condition, lambda clause: _clause(arguments, clause, datasets))})",
    ]
    if datasets and not touches_metrics(condition, ()):
        conditions.append(_has_metric(arguments, "true", datasets))
    sql = select(
        "logged_model.*",
        "logged_model",
        where=conditions,
        order_by=_sorting(arguments, orders),
        limit=arguments.bind(limit, "bigint"),
        offset=arguments.bind(offset, "bigint"),
    )
    return await _with_contents(connection, await connection.fetch(sql, *arguments.values))


def _clause(arguments: Arguments, clause: Clause, datasets: Sequence[tuple[str, str]]) -> str:
    entity, key = clause.field.entity, clause.field.key
    owner = "logged_model.model_id"
    if entity == "parameter":
        return keyed(arguments, clause, table="logged_model_param", owner=owner)
    if entity == "tag":
        return keyed(arguments, clause, table="logged_model_tag", owner=owner)
    if entity == "metric":
        compared = measured(arguments, "measured.value", clause)
        named = f"measured.key = {arguments.bind(key, 'text')}"
        return _has_metric(arguments, f"{named} and {compared}", datasets)
    column = f"logged_model.{key}"
    if key == "experiment_id":
        column += "::text"
    return arguments.compare(column, clause.operator, clause.value)


def _has_metric(arguments: Arguments, condition: str, datasets: Sequence[tuple[str, str]]) -> str:
    choices = [_on_dataset(arguments, "measured", name, digest) for name, digest in datasets]
    on_dataset = f" and ({' or '.join(choices)})" if choices else ""
    return (
        "exists (select from logged_model_metric as measured"
        f" where measured.model_id = logged_model.model_id and {condition}{on_dataset})"
    )


def _on_dataset(arguments: Arguments, alias: str, name: str, digest: str) -> str:
    named = f"{alias}.dataset_name = {arguments.bind(name, 'text')}"
    if not digest:
        return named
    return f"({named} and {alias}.dataset_digest = {arguments.bind(digest, 'text')})"


def _sorting(arguments: Arguments, orders: Sequence[Order]) -> list[str]:
    sorting: list[str] = []
    for order in orders:
        if order.field.entity != "metric":
            sorting.append(f"logged_model.{order.field.key} {direction(order)}")
            continue
        latest = _latest(arguments, order)
        sorting.append(f"case when {latest} is null then 2 when {latest} = 'NaN' then 1 else 0 end")
        sorting.append(f"{latest} {direction(order)}")
    return [*sorting, "logged_model.creation_timestamp_ms desc", "logged_model.model_id"]


def _latest(arguments: Arguments, order: Order) -> str:
    conditions = [
        "model_id = logged_model.model_id",
        f"key = {arguments.bind(order.field.key, 'text')}",
    ]
    if order.dataset_name:
        conditions.append(
            _on_dataset(arguments, "logged_model_metric", order.dataset_name, order.dataset_digest)
        )
    newest = ["timestamp desc", "step desc", "run_id"]
    latest = select("value", "logged_model_metric", where=conditions, order_by=newest, limit="1")
    return f"({latest})"


async def _with_contents(
    connection: Connection, rows: Sequence[asyncpg.Record]
) -> list[LoggedModel]:
    ids = [row["model_id"] for row in rows]
    params: dict[str, dict[str, str]] = {model_id: {} for model_id in ids}
    tags: dict[str, dict[str, str]] = {model_id: {} for model_id in ids}
    metrics: dict[str, list[ModelMetric]] = {model_id: [] for model_id in ids}
    for row in await connection.fetch(
        "select * from logged_model_param where model_id = any($1) order by key", ids
    ):
        params[row["model_id"]][row["key"]] = row["value"]
    for row in await connection.fetch(
        "select * from logged_model_tag where model_id = any($1) order by key", ids
    ):
        tags[row["model_id"]][row["key"]] = row["value"]
    for row in await connection.fetch(
        "select * from logged_model_metric where model_id = any($1)"
        " order by key, timestamp, step, run_id",
        ids,
    ):
        metrics[row["model_id"]].append(_metric_of(row))
    registrations = await registrations_of(connection, ids)
    return [
        LoggedModel(
            model_id=row["model_id"],
            experiment_id=str(row["experiment_id"]),
            name=row["name"],
            artifact_location=row["artifact_location"],
            creation_timestamp=row["creation_timestamp_ms"],
            last_updated_timestamp=row["last_updated_timestamp_ms"],
            status=row["status"],
            model_type=row["model_type"],
            source_run_id=row["source_run_id"],
            status_message=row["status_message"],
            tags=tags[row["model_id"]],
            params=params[row["model_id"]],
            metrics=metrics[row["model_id"]],
            registrations=registrations[row["model_id"]],
        )
        for row in rows
    ]


def _metric_of(row: asyncpg.Record) -> ModelMetric:
    return ModelMetric(
        model_id=row["model_id"],
        run_id=row["run_id"],
        dataset_name=row["dataset_name"],
        dataset_digest=row["dataset_digest"],
        metric=Metric(
            key=row["key"], value=row["value"], timestamp=row["timestamp"], step=row["step"]
        ),
    )
