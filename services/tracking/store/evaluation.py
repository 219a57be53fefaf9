"""Evaluation datasets, their tags, experiments and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import asyncpg

from headrace.runtime.db import Connection
from services.tracking.domain.errors import no_experiment
from services.tracking.domain.evaluation import (
    EvaluationDataset,
    Record,
    no_dataset,
)
from services.tracking.domain.search import Clause, Condition, Order
from services.tracking.store.sql import Arguments, conditioned, direction, keyed, select

_COLUMNS: Final = """
    d.*,
    (select count(*) from evaluation_record r where r.dataset_id = d.dataset_id) as records,
    (select coalesce(json_object_agg(t.key, t.value), '{}') from evaluation_dataset_tag t
        where t.dataset_id = d.dataset_id) as tags,
    array(select e.experiment_id::text from evaluation_dataset_experiment e
        where e.dataset_id = d.dataset_id order by e.experiment_id) as experiment_ids
"""
_SOURCE: Final = "evaluation_dataset d"


async def create(connection: Connection, dataset: EvaluationDataset, *, project: str) -> None:
    """Store a new dataset with its tags and experiments."""
    await connection.execute(
        "insert into evaluation_dataset (dataset_id, project, name, digest, created_time,"
        " last_update_time, created_by, last_updated_by) values ($1, $2, $3, $4, $5, $5, $6, $6)",
        dataset.dataset_id,
        project,
        dataset.name,
        dataset.digest,
        dataset.created_time,
        dataset.created_by,
    )
    await set_tags(connection, dataset_id=dataset.dataset_id, tags=dataset.tags)
    await add_experiments(
        connection,
        dataset_id=dataset.dataset_id,
        project=project,
        experiments=[int(number) for number in dataset.experiment_ids],
    )


async def get(
    connection: Connection, *, project: str, dataset_id: str, lock: bool = False
) -> EvaluationDataset:
    """A dataset, kept from changes by others if told to. Raises NotFound."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from {_SOURCE} where d.project = $1 and d.dataset_id = $2"  # noqa: S608
        f"{' for update of d' if lock else ''}",
        project,
        dataset_id,
    )
    if row is None:
        raise no_dataset(dataset_id)
    return _read(row)


async def search(
    connection: Connection,
    *,
    project: str,
    experiments: Sequence[int],
    condition: Condition,
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[EvaluationDataset]:
    """Datasets that match, of any of the experiments if some are given; newest first."""
    arguments = Arguments()
    where = [f"d.project = {arguments.bind(project, 'text')}"]
    if experiments:
        where.append(
            "exists (select from evaluation_dataset_experiment e"
            " where e.dataset_id = d.dataset_id"
            f" and e.experiment_id = any({arguments.bind(list(experiments), 'bigint[]')}))"
        )
    where.append(f"({conditioned(condition, partial(_clause, arguments))})")
    sorting = [f"d.{order.field.key} {direction(order)}" for order in orders]
    sql = select(
        _COLUMNS,
        _SOURCE,
        where=where,
        order_by=[*(sorting or ["d.created_time desc"]), "d.dataset_id desc"],
        limit=arguments.bind(limit, "bigint"),
        offset=arguments.bind(offset, "bigint"),
    )
    return [_read(row) for row in await connection.fetch(sql, *arguments.values)]


async def delete(connection: Connection, *, project: str, dataset_id: str) -> None:
    """Delete a dataset with all that belongs to it; nothing happens if there is none."""
    await connection.execute(
        "delete from evaluation_dataset where project = $1 and dataset_id = $2",
        project,
        dataset_id,
    )


async def set_tags(connection: Connection, *, dataset_id: str, tags: Mapping[str, str]) -> None:
    """Set or replace tags."""
    await connection.executemany(
        "insert into evaluation_dataset_tag (dataset_id, key, value) values ($1, $2, $3)"
        " on conflict (dataset_id, key) do update set value = excluded.value",
        [(dataset_id, key, value) for key, value in tags.items()],
    )


async def delete_tag(connection: Connection, *, dataset_id: str, key: str) -> None:
    """Remove a tag; nothing happens if there is none."""
    await connection.execute(
        "delete from evaluation_dataset_tag where dataset_id = $1 and key = $2", dataset_id, key
    )


async def add_experiments(
    connection: Connection, *, dataset_id: str, project: str, experiments: Sequence[int]
) -> None:
    """Make a dataset belong to experiments too. Raises NotFound for an unknown one."""
    rows = await connection.fetch(
        "select experiment_id from experiment where project = $1 and experiment_id = any($2)",
        project,
        list(experiments),
    )
    known = {row["experiment_id"] for row in rows}
    for number in experiments:
        if number not in known:
            raise no_experiment(number)
    await connection.executemany(
        "insert into evaluation_dataset_experiment (dataset_id, experiment_id) values ($1, $2)"
        " on conflict do nothing",
        [(dataset_id, number) for number in known],
    )


async def remove_experiments(
    connection: Connection, *, dataset_id: str, experiments: Sequence[int]
) -> None:
    """Make a dataset belong to some experiments no more."""
    await connection.execute(
        "delete from evaluation_dataset_experiment where dataset_id = $1"
        " and experiment_id = any($2)",
        dataset_id,
        list(experiments),
    )


async def records_by_hash(
    connection: Connection, *, dataset_id: str, hashes: Sequence[str]
) -> dict[str, Record]:
    """The records whose inputs are known already."""
    rows = await connection.fetch(
        "select * from evaluation_record where dataset_id = $1 and input_hash = any($2)",
        dataset_id,
        list(hashes),
    )
    return {row["input_hash"]: _read_record(row) for row in rows}


async def put_records(
    connection: Connection, *, dataset_id: str, records: Sequence[Record]
) -> None:
    """Store records, or what became of them."""
    await connection.executemany(
        "insert into evaluation_record (record_id, dataset_id, input_hash, inputs, outputs,"
        " expectations, tags, source, created_time, last_update_time, created_by,"
        " last_updated_by) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        " on conflict (record_id) do update set outputs = excluded.outputs,"
        " expectations = excluded.expectations, tags = excluded.tags,"
        " last_update_time = excluded.last_update_time,"
        " last_updated_by = excluded.last_updated_by",
        [
            (
                record.record_id,
                dataset_id,
                record.input_hash,
                record.inputs,
                record.outputs,
                record.expectations,
                record.tags,
                record.source,
                record.created_time,
                record.last_update_time,
                record.created_by,
                record.last_updated_by,
            )
            for record in records
        ],
    )


async def note_change(connection: Connection, dataset: EvaluationDataset) -> None:
    """Write down that the records of a dataset changed."""
    await connection.execute(
        "update evaluation_dataset set digest = $2, schema = $3, last_update_time = $4,"
        " last_updated_by = $5 where dataset_id = $1",
        dataset.dataset_id,
        dataset.digest,
        dataset.schema,
        dataset.last_update_time,
        dataset.last_updated_by,
    )


async def records(
    connection: Connection, *, dataset_id: str, limit: int, offset: int
) -> list[Record]:
    """Records in the order in which they came."""
    rows = await connection.fetch(
        "select * from evaluation_record where dataset_id = $1 order by place limit $2 offset $3",
        dataset_id,
        limit,
        offset,
    )
    return [_read_record(row) for row in rows]


async def delete_records(
    connection: Connection, *, dataset_id: str, record_ids: Sequence[str]
) -> int:
    """Delete records by their ids; returns how many there were."""
    rows = await connection.fetch(
        "delete from evaluation_record where dataset_id = $1 and record_id = any($2)"
        " returning record_id",
        dataset_id,
        list(record_ids),
    )
    return len(rows)


def _clause(arguments: Arguments, clause: Clause) -> str:
    """True or false, never null, so that NOT means no."""
    if clause.field.entity == "tag":
        return keyed(arguments, clause, table="evaluation_dataset_tag", owner="d.dataset_id")
    compared = arguments.compare(f"d.{clause.field.key}", clause.operator, clause.value)
    return f"coalesce({compared}, false)"


def _read(row: asyncpg.Record) -> EvaluationDataset:
    names = ("dataset_id", "name", "digest", "schema", "records", "created_time")
    more = ("last_update_time", "created_by", "last_updated_by", "tags")
    fields = {name: row[name] for name in (*names, *more)}
    return EvaluationDataset(**fields, experiment_ids=tuple(row["experiment_ids"]))


def _read_record(row: asyncpg.Record) -> Record:
    names = ("record_id", "inputs", "outputs", "expectations", "tags", "source")
    more = ("created_time", "last_update_time", "created_by", "last_updated_by")
    return Record(**{name: row[name] for name in (*names, *more)})
