"""Search for runs: clauses as semi-joins on summaries, params and tags, never on points."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.db import Connection
from services.tracking.domain.entities import LifecycleStage, Run
from services.tracking.domain.search import Clause, Order
from services.tracking.store.contents import with_contents
from services.tracking.store.sql import Query, direction
from services.tracking.store.starting import info_of

_COLUMNS = {"run_name": "run.name"}


async def search_runs(
    connection: Connection,
    *,
    project: str,
    experiments: Sequence[int],
    clauses: Sequence[Clause],
    orders: Sequence[Order],
    stages: Sequence[LifecycleStage],
    limit: int,
    offset: int,
) -> list[Run]:
    """Runs of some experiments that match all clauses; ties by latest start, then by id."""
    query = Query("select run.* from run")
    query.where(f"run.project = {query.bind(project)}")
    query.where(f"run.experiment_id = any({query.bind(list(experiments))}::bigint[])")
    query.where(f"run.lifecycle_stage = any({query.bind(list(stages))}::text[])")
    for clause in clauses:
        query.where(_condition(query, clause))
    for order in orders:
        _add_order(query, order)
    if not any(order.field.key == "start_time" for order in orders):
        query.order_by("run.start_time desc")
    query.order_by("run.run_id")
    sql, arguments = query.page(limit=limit, offset=offset)
    rows = await connection.fetch(sql, *arguments)
    return await with_contents(connection, [info_of(row) for row in rows])


def _condition(query: Query, clause: Clause) -> str:
    entity, key = clause.field.entity, clause.field.key
    if entity == "metric":
        return _metric_condition(query, clause)
    if entity == "parameter":
        return query.keyed(clause, table="param", owner="run.run_id")
    if entity == "tag":
        return query.keyed(clause, table="tag", owner="run.run_id")
    if entity == "dataset":
        column = "run_dataset.context" if key == "context" else f"dataset.{key}"
        return (
            "exists (select from run_dataset join dataset using (dataset_id)"
            f" where run_dataset.run_id = run.run_id and {query.comparison(column, clause)})"
        )
    return query.comparison(_COLUMNS.get(key, f"run.{key}"), clause)


def _metric_condition(query: Query, clause: Clause) -> str:
    """On the latest value; NaN satisfies `!=` alone."""
    compared = query.comparison("latest.last_value", clause)
    numbers_only = "" if clause.operator == "!=" else " and latest.last_value <> 'NaN'"
    return (
        "exists (select from metric_summary as latest where latest.run_id = run.run_id"
        f" and latest.key = {query.bind(clause.field.key)} and {compared}{numbers_only})"
    )


def _add_order(query: Query, order: Order) -> None:
    """Numbers before NaN before missing in both directions; other fields: missing last."""
    entity, key = order.field.entity, order.field.key
    if entity == "attribute":
        query.order_by(f"{_COLUMNS.get(key, f'run.{key}')} {direction(order)}")
        return
    table = {"metric": "metric_summary", "parameter": "param", "tag": "tag"}[entity]
    alias = query.alias("sorted")
    query.join(
        f"left join {table} as {alias} on {alias}.run_id = run.run_id"
        f" and {alias}.key = {query.bind(key)}"
    )
    if entity == "metric":
        column = f"{alias}.last_value"
        query.order_by(f"case when {column} is null then 2 when {column} = 'NaN' then 1 else 0 end")
        query.order_by(f"{column} {direction(order)}")
    else:
        query.order_by(f"{alias}.value {direction(order)}")
