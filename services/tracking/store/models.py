"""Logged models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from headrace.errors import NotFound
from headrace.runtime.db import Connection
from services.tracking.domain.entities import LoggedModel, Metric, ModelMetric
from services.tracking.domain.errors import inactive_experiment, no_model
from services.tracking.domain.search import Clause, Order
from services.tracking.store.experiments import get_experiment
from services.tracking.store.sql import Query, direction


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
    clauses: Sequence[Clause],
    datasets: Sequence[tuple[str, str]],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[LoggedModel]:
    """Active models that match all clauses; ties by latest creation, then by id.

    `datasets` are (name, digest or "") pairs: metric clauses are judged on them, and without a
    metric clause the model must have some metric on one of them.
    """
    query = Query("select logged_model.* from logged_model")
    query.where(f"logged_model.project = {query.bind(project)}")
    query.where(f"logged_model.experiment_id = any({query.bind(list(experiments))}::bigint[])")
    query.where("logged_model.lifecycle_stage = 'active'")
    for clause in clauses:
        query.where(_condition(query, clause, datasets))
    if datasets and not any(clause.field.entity == "metric" for clause in clauses):
        query.where(_has_metric(query, "true", datasets))
    for order in orders:
        _add_order(query, order)
    query.order_by("logged_model.creation_timestamp_ms desc")
    query.order_by("logged_model.model_id")
    sql, arguments = query.page(limit=limit, offset=offset)
    return await _with_contents(connection, await connection.fetch(sql, *arguments))


def _condition(query: Query, clause: Clause, datasets: Sequence[tuple[str, str]]) -> str:
    entity, key = clause.field.entity, clause.field.key
    owner = "logged_model.model_id"
    if entity == "parameter":
        return query.keyed(clause, table="logged_model_param", owner=owner)
    if entity == "tag":
        return query.keyed(clause, table="logged_model_tag", owner=owner)
    if entity == "metric":
        compared = query.comparison("measured.value", clause)
        numbers_only = "" if clause.operator == "!=" else " and measured.value <> 'NaN'"
        named = f"measured.key = {query.bind(key)}"
        return _has_metric(query, f"{named} and {compared}{numbers_only}", datasets)
    if key == "experiment_id":
        return query.comparison("logged_model.experiment_id::text", clause)
    return query.comparison(f"logged_model.{key}", clause)


def _has_metric(query: Query, condition: str, datasets: Sequence[tuple[str, str]]) -> str:
    choices = [_on_dataset(query, "measured", name, digest) for name, digest in datasets]
    on_dataset = f" and ({' or '.join(choices)})" if choices else ""
    return (
        "exists (select from logged_model_metric as measured"
        f" where measured.model_id = logged_model.model_id and {condition}{on_dataset})"
    )


def _on_dataset(query: Query, alias: str, name: str, digest: str) -> str:
    named = f"{alias}.dataset_name = {query.bind(name)}"
    return f"({named} and {alias}.dataset_digest = {query.bind(digest)})" if digest else named


def _add_order(query: Query, order: Order) -> None:
    if order.field.entity != "metric":
        query.order_by(f"logged_model.{order.field.key} {direction(order)}")
        return
    alias = query.alias("latest")
    condition = f"key = {query.bind(order.field.key)}"
    if order.dataset_name:
        condition += " and " + _on_dataset(
            query, "logged_model_metric", order.dataset_name, order.dataset_digest
        )
    of_model = "from logged_model_metric where model_id = logged_model.model_id"
    newest = "order by timestamp desc, step desc, run_id limit 1"
    latest = f"select value {of_model} and {condition} {newest}"
    query.join(f"left join lateral ({latest}) as {alias} on true")
    column = f"{alias}.value"
    query.order_by(f"case when {column} is null then 2 when {column} = 'NaN' then 1 else 0 end")
    query.order_by(f"{column} {direction(order)}")


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
