"""Aliases and their append-only history."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from headrace.runtime.db import Connection
from services.registry.domain.promotions import AliasMove
from services.registry.domain.records import Model

_HISTORY = """
select e.alias, v.version, p.version as previous_version, e.cause, e.actor, e.request_id,
    e.event_id, e.correlation_id, e.moved_at
from alias_event e
left join model_version v on v.id = e.version_id
left join model_version p on p.id = e.previous_version_id
where e.model_id = $1 and e.alias = $2
"""


async def holder(connection: Connection, *, model: Model, alias: str) -> int | None:
    """The version that holds the alias now."""
    found: int | None = await connection.fetchval(
        "select v.version from alias a join model_version v on v.id = a.version_id"
        " where a.model_id = $1 and a.alias = $2",
        model.id,
        alias,
    )
    return found


async def put(connection: Connection, *, model: Model, move: AliasMove) -> datetime:
    """Apply and record a move of an alias of a model that the caller has locked.

    `move.version` None takes the alias away. Returns the recorded time, which never runs behind
    the last one.
    """
    if move.version is None:
        await connection.execute(
            "delete from alias where model_id = $1 and alias = $2", model.id, move.alias
        )
    else:
        await connection.execute(
            "insert into alias (project, model_id, alias, version_id)"
            " select project, model_id, $2, id from model_version"
            " where model_id = $1 and version = $3"
            " on conflict (model_id, alias) do update set version_id = excluded.version_id",
            model.id,
            move.alias,
            move.version,
        )
    moved_at: datetime = await connection.fetchval(
        "insert into alias_event (project, model_id, alias, version_id, previous_version_id,"
        " cause, actor, request_id, event_id, correlation_id, moved_at)"
        " select $1, $2, $3,"
        "  (select id from model_version where model_id = $2 and version = $4),"
        "  (select id from model_version where model_id = $2 and version = $5),"
        "  $6, $7, $8, $9, $10,"
        "  greatest($11, (select max(moved_at) from alias_event"
        "    where model_id = $2 and alias = $3)) returning moved_at",
        model.project,
        model.id,
        move.alias,
        move.version,
        move.previous_version,
        move.cause,
        move.actor,
        move.request_id,
        move.event_id,
        move.correlation_id,
        move.moved_at,
    )
    return moved_at


async def history(connection: Connection, *, model: Model, alias: str) -> list[AliasMove]:
    """Every move of an alias, oldest first."""
    rows = await connection.fetch(f"{_HISTORY} order by e.seq", model.id, alias)
    return [_move(row) for row in rows]


async def as_of(
    connection: Connection, *, model: Model, alias: str, moment: datetime | None
) -> AliasMove | None:
    """The move that was in force at `moment` (None: now), if the alias had moved by then."""
    row = await connection.fetchrow(
        f"{_HISTORY} and ($3::timestamptz is null or e.moved_at <= $3) order by e.seq desc limit 1",
        model.id,
        alias,
        moment,
    )
    return None if row is None else _move(row)


async def note_told(connection: Connection, *, model: Model, alias: str) -> None:
    """The state topic is told where the alias points."""
    await connection.execute(
        "update alias set state_told = true where model_id = $1 and alias = $2 and not state_told",
        model.id,
        alias,
    )


async def untold(connection: Connection, *, project: str) -> list[tuple[str, str]]:
    """Model and alias of what the state topic was never told of."""
    rows = await connection.fetch(
        "select m.name, a.alias from alias a join registered_model m on m.id = a.model_id"
        " where a.project = $1 and not a.state_told order by m.name, a.alias",
        project,
    )
    return [(row["name"], row["alias"]) for row in rows]


def _move(row: asyncpg.Record) -> AliasMove:
    return AliasMove(
        alias=row["alias"],
        version=row["version"],
        previous_version=row["previous_version"],
        cause=row["cause"],
        actor=row["actor"],
        request_id=_text(row["request_id"]),
        event_id=_text(row["event_id"]),
        correlation_id=row["correlation_id"],
        moved_at=row["moved_at"],
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
