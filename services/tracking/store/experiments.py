"""Experiments and their tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import asyncpg

from headrace.errors import Conflict, NotFound
from headrace.runtime.db import Connection
from services.tracking.domain.entities import Experiment, LifecycleStage
from services.tracking.domain.errors import WrongStage, inactive_experiment, no_experiment
from services.tracking.domain.search import Clause, Condition, Order
from services.tracking.store.sql import Arguments, conditioned, direction, keyed, select


async def create_experiment(
    connection: Connection,
    *,
    project: str,
    name: str,
    artifact_location: str | None,
    tags: Mapping[str, str],
    now_ms: int,
) -> int:
    """A new experiment's number. Raises Conflict if the name is taken, also by a deleted one."""
    number: int | None = await connection.fetchval(
        """
        with made as (
            insert into experiment (project, name, artifact_location, creation_time,
                last_update_time)
            values ($1, $2, coalesce($3, ''), $4, $4)
            on conflict (project, name) do nothing
            returning experiment_id
        ), tagged as (
            insert into experiment_tag (experiment_id, key, value)
            select experiment_id, given.key, given.value
            from made, unnest($5::text[], $6::text[]) as given (key, value)
        )
        select experiment_id from made
        """,
        project,
        name,
        artifact_location,
        now_ms,
        list(tags),
        list(tags.values()),
    )
    if number is None:
        raise Conflict(f"Experiment(name={name}) already exists.")
    if artifact_location is None:
        await connection.execute(
            "update experiment set artifact_location = 'mlflow-artifacts:/' || experiment_id"
            " where experiment_id = $1",
            number,
        )
    return number


async def ensure_experiment(connection: Connection, *, project: str, name: str, now_ms: int) -> int:
    """The number of the experiment of that name, made if there is none."""
    while True:
        number: int | None = await connection.fetchval(
            "select experiment_id from experiment where project = $1 and name = $2", project, name
        )
        if number is not None:
            return number
        try:
            return await create_experiment(
                connection,
                project=project,
                name=name,
                artifact_location=None,
                tags={},
                now_ms=now_ms,
            )
        except Conflict:
            continue


async def get_experiment(connection: Connection, *, project: str, number: int) -> Experiment:
    """An experiment in any stage. Raises NotFound."""
    rows = await connection.fetch(
        "select * from experiment where project = $1 and experiment_id = $2", project, number
    )
    if not rows:
        raise no_experiment(number)
    return (await _with_tags(connection, rows))[0]


async def get_experiment_by_name(connection: Connection, *, project: str, name: str) -> Experiment:
    """An experiment in any stage. Raises NotFound."""
    rows = await connection.fetch(
        "select * from experiment where project = $1 and name = $2", project, name
    )
    if not rows:
        raise NotFound(f"Could not find experiment with name '{name}'")
    return (await _with_tags(connection, rows))[0]


async def search_experiments(
    connection: Connection,
    *,
    project: str,
    condition: Condition,
    orders: Sequence[Order],
    stages: Sequence[LifecycleStage],
    limit: int,
    offset: int,
) -> list[Experiment]:
    """Experiments that match; without orders the newest first."""
    arguments = Arguments()
    sorting = [f"{order.field.key} {direction(order)}" for order in orders]
    sorting += ["experiment_id desc"] if orders else ["creation_time desc", "experiment_id"]
    sql = select(
        "experiment.*",
        "experiment",
        where=[
            f"project = {arguments.bind(project, 'text')}",
            f"lifecycle_stage = any({arguments.bind(list(stages), 'text[]')})",
            f"({conditioned(condition, partial(_clause, arguments))})",
        ],
        order_by=sorting,
        limit=arguments.bind(limit, "bigint"),
        offset=arguments.bind(offset, "bigint"),
    )
    return await _with_tags(connection, await connection.fetch(sql, *arguments.values))


async def rename_experiment(
    connection: Connection, *, project: str, number: int, name: str, now_ms: int
) -> None:
    """Give an active experiment a new name. Raises NotFound, Conflict, WrongStage."""
    experiment = await _locked(connection, project=project, number=number)
    if experiment["lifecycle_stage"] != "active":
        raise WrongStage("Cannot rename a non-active experiment.")
    try:
        await connection.execute(
            "update experiment set name = $2, last_update_time = $3 where experiment_id = $1",
            number,
            name,
            now_ms,
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"Experiment(name={name}) already exists.") from error


async def move_experiment(
    connection: Connection, *, project: str, number: int, stage: LifecycleStage, now_ms: int
) -> None:
    """Delete or restore an experiment and all its runs. Raises NotFound if it is there already."""
    experiment = await _locked(connection, project=project, number=number)
    if experiment["lifecycle_stage"] == stage:
        raise no_experiment(number)
    await connection.execute(
        "update experiment set lifecycle_stage = $2, last_update_time = $3"
        " where experiment_id = $1",
        number,
        stage,
        now_ms,
    )
    await connection.execute(
        "update run set lifecycle_stage = $2 where experiment_id = $1", number, stage
    )


async def set_experiment_tag(
    connection: Connection, *, project: str, number: int, key: str, value: str
) -> None:
    """Set a tag of an active experiment. Raises NotFound, InvalidInput."""
    _check_active(await _locked(connection, project=project, number=number))
    await connection.execute(
        "insert into experiment_tag (experiment_id, key, value) values ($1, $2, $3)"
        " on conflict (experiment_id, key) do update set value = excluded.value",
        number,
        key,
        value,
    )


async def delete_experiment_tag(
    connection: Connection, *, project: str, number: int, key: str
) -> None:
    """Remove a tag of an active experiment. Raises NotFound, InvalidInput."""
    _check_active(await _locked(connection, project=project, number=number))
    gone = await connection.fetchval(
        "delete from experiment_tag where experiment_id = $1 and key = $2 returning key",
        number,
        key,
    )
    if gone is None:
        raise NotFound(f"No tag with name: {key} in experiment with id {number}")


async def _locked(connection: Connection, *, project: str, number: int) -> asyncpg.Record:
    row = await connection.fetchrow(
        "select * from experiment where project = $1 and experiment_id = $2 for no key update",
        project,
        number,
    )
    if row is None:
        raise no_experiment(number)
    return row


def _check_active(row: asyncpg.Record) -> None:
    if row["lifecycle_stage"] != "active":
        raise inactive_experiment(row["experiment_id"], row["lifecycle_stage"])


def _clause(arguments: Arguments, clause: Clause) -> str:
    if clause.field.entity == "tag":
        return keyed(arguments, clause, table="experiment_tag", owner="experiment.experiment_id")
    column = clause.field.key
    if column == "experiment_id":
        column = "experiment_id::text"
    return arguments.compare(column, clause.operator, clause.value)


async def _with_tags(connection: Connection, rows: Sequence[asyncpg.Record]) -> list[Experiment]:
    tags: dict[int, dict[str, str]] = {row["experiment_id"]: {} for row in rows}
    for row in await connection.fetch(
        "select experiment_id, key, value from experiment_tag where experiment_id = any($1)"
        " order by key",
        list(tags),
    ):
        tags[row["experiment_id"]][row["key"]] = row["value"]
    return [
        Experiment(
            experiment_id=str(row["experiment_id"]),
            name=row["name"],
            artifact_location=row["artifact_location"],
            lifecycle_stage=row["lifecycle_stage"],
            creation_time=row["creation_time"],
            last_update_time=row["last_update_time"],
            tags=tags[row["experiment_id"]],
        )
        for row in rows
    ]
