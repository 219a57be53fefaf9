"""SQL of traffic tables and of the versions that they may name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any

import asyncpg

from headrace.events import FileRef
from headrace.runtime.db import Connection
from services.serving.domain import Order
from services.serving.domain.traffic import (
    Arm,
    Interval,
    Plan,
    Shadow,
    TableState,
    TrafficTable,
)

_MODEL = "project=$1 and model=$2"


async def know_version(connection: Connection, order: Order) -> None:
    """Remember the files of a version, which never change, and of its conversion, once known."""
    await connection.execute(
        "insert into known_version (project, model, version, digest, files, converted)"
        " values ($1, $2, $3, $4, $5, $6) on conflict (project, model, version) do update"
        " set converted=excluded.converted where known_version.converted='[]'",
        order.project,
        order.model,
        order.version,
        order.digest,
        [file.model_dump() for file in order.files],
        [file.model_dump() for file in order.converted],
    )


async def known_orders(
    connection: Connection, *, project: str, model: str, versions: Collection[int]
) -> dict[int, Order]:
    """These versions as far as they are known, ready to be fetched."""
    rows = await connection.fetch(
        f"select * from known_version where {_MODEL} and version = any($3::int[])",  # noqa: S608
        project,
        model,
        list(versions),
    )
    return {row["version"]: _order(row) for row in rows}


async def lock(connection: Connection, *, project: str, model: str) -> int | None:
    """Let nobody else set this model's traffic until the commit; returns its champion."""
    version: int | None = await connection.fetchval(
        "select d.version from champion c join deployment d on d.number = c.deployment"
        " where c.project=$1 and c.model=$2 for update of c",
        project,
        model,
    )
    return version


async def insert(connection: Connection, table: TrafficTable) -> None:
    """A new table; those that still waited are not carried out any more."""
    await connection.execute(
        f"update traffic_table set state='ended' where {_MODEL} and state='open'",  # noqa: S608
        table.project,
        table.model,
    )
    await connection.execute(
        "insert into traffic_table (project, model, version, state, plan, salt, intervals,"
        " champion, cause, author, reason, correlation_id, owner, created_at, in_force_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        table.project,
        table.model,
        table.version,
        table.state.value,
        asdict(table.plan),
        table.salt,
        [[each.start, each.end, each.arm] for each in table.intervals],
        table.champion,
        table.cause,
        table.author,
        table.reason,
        table.correlation_id,
        table.owner,
        table.created_at,
        table.in_force_at,
    )


async def latest(connection: Connection, *, project: str, model: str) -> TrafficTable | None:
    """The table that was set last, whatever became of it."""
    found = await history(connection, project=project, model=model, limit=1)
    return found[0] if found else None


async def history(
    connection: Connection, *, project: str, model: str, limit: int
) -> list[TrafficTable]:
    """The latest tables, newest first."""
    rows = await connection.fetch(
        f"select * from traffic_table where {_MODEL}"  # noqa: S608
        " order by version desc limit $3",
        project,
        model,
        limit,
    )
    return [_table(row) for row in rows]


async def in_state(
    connection: Connection, *, project: str, model: str, state: TableState
) -> TrafficTable | None:
    """The newest table of a model in a state."""
    row = await connection.fetchrow(
        f"select * from traffic_table where {_MODEL} and state=$3"  # noqa: S608
        " order by version desc limit 1",
        project,
        model,
        state.value,
    )
    return _table(row) if row else None


async def models_waiting(connection: Connection, *, project: str) -> list[str]:
    """Models with a table that is not carried out yet."""
    rows = await connection.fetch(
        "select distinct model from traffic_table where project=$1 and state='open'", project
    )
    return [row["model"] for row in rows]


async def put_in_force(
    connection: Connection, table: TrafficTable, *, at: datetime
) -> TrafficTable | None:
    """Every worker routes by it; None if it was overtaken meanwhile."""
    await end(connection, project=table.project, model=table.model)
    row = await connection.fetchrow(
        f"update traffic_table set state='in_force', in_force_at=$4 where {_MODEL}"  # noqa: S608
        " and version=$3 and state='open' returning *",
        table.project,
        table.model,
        table.version,
        at,
    )
    return _table(row) if row else None


async def fail(connection: Connection, table: TrafficTable, *, reason: str) -> bool:
    """It cannot be put in force; False if that was settled already."""
    moved: str = await connection.execute(
        f"update traffic_table set state='failed', failure=$4 where {_MODEL}"  # noqa: S608
        " and version=$3 and state='open'",
        table.project,
        table.model,
        table.version,
        reason,
    )
    return moved == "UPDATE 1"


async def end(connection: Connection, *, project: str, model: str) -> TrafficTable | None:
    """The table in force is so no more; returns it, if there was one."""
    row = await connection.fetchrow(
        f"update traffic_table set state='ended' where {_MODEL} and state='in_force'"  # noqa: S608
        " returning *",
        project,
        model,
    )
    return _table(row) if row else None


def _order(row: asyncpg.Record) -> Order:
    return Order(
        project=row["project"],
        model=row["model"],
        version=row["version"],
        kind="warm",
        digest=row["digest"],
        files=tuple(FileRef.model_validate(file) for file in row["files"]),
        converted=tuple(FileRef.model_validate(file) for file in row["converted"]),
        cause_event="",
        correlation_id="",
        traceparent=None,
    )


def _table(row: asyncpg.Record) -> TrafficTable:
    return TrafficTable(
        project=row["project"],
        model=row["model"],
        version=row["version"],
        state=TableState(row["state"]),
        plan=_plan(row["plan"]),
        salt=row["salt"],
        intervals=tuple(
            Interval(start=start, end=end_, arm=arm) for start, end_, arm in row["intervals"]
        ),
        champion=row["champion"],
        cause=row["cause"],
        author=row["author"],
        reason=row["reason"],
        correlation_id=row["correlation_id"],
        owner=row["owner"],
        created_at=row["created_at"],
        in_force_at=row["in_force_at"],
        failure=row["failure"],
    )


def _plan(stored: dict[str, Any]) -> Plan:
    return Plan(
        **{
            **stored,
            "arms": tuple(Arm(**arm) for arm in stored["arms"]),
            "shadows": tuple(Shadow(**shadow) for shadow in stored["shadows"]),
        }
    )
