"""Registered models, their tags, and the lock that orders everything about one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from headrace.errors import NotFound
from headrace.ids import new_id
from headrace.runtime.db import Connection
from services.registry.domain.errors import AlreadyExists
from services.registry.domain.records import Model
from services.registry.domain.search import PROMPT_TAG, is_prompt

COLUMNS = """
    m.id, m.project, m.name, m.description, m.last_version, m.created_at, m.updated_at,
    (select coalesce(jsonb_object_agg(t.key, t.value), '{}') from model_tag t
        where t.model_id = m.id) as tags,
    (select coalesce(jsonb_object_agg(a.alias, v.version), '{}') from alias a
        join model_version v on v.id = a.version_id where a.model_id = m.id) as aliases
"""


FROM = "from registered_model m"
_NO_PROMPT = (
    "not exists (select from model_tag t"
    " where t.model_id = m.id and t.key = $2 and t.value = 'true')"
)


async def create(
    connection: Connection,
    *,
    project: str,
    name: str,
    description: str | None,
    tags: Mapping[str, str],
    now: datetime,
) -> Model:
    """A new model. Raises AlreadyExists when a living one has the name."""
    made = await connection.fetchval(
        "insert into registered_model (id, project, name, description, created_at, updated_at)"
        " values ($1, $2, $3, $4, $5, $5)"
        " on conflict (project, name) where deleted_at is null do nothing returning id",
        new_id(),
        project,
        name,
        description,
        now,
    )
    if made is None:
        raise _taken(await get(connection, project=project, name=name), tags)
    await connection.executemany(
        "insert into model_tag (project, model_id, key, value) values ($1, $2, $3, $4)",
        [(project, made, key, value) for key, value in tags.items()],
    )
    return await get(connection, project=project, name=name)


async def get(connection: Connection, *, project: str, name: str) -> Model:
    """A living model with tags and aliases. Raises NotFound."""
    row = await connection.fetchrow(
        f"select {COLUMNS} {FROM} where m.project = $1 and m.name = $2 and m.deleted_at is null",
        project,
        name,
    )
    if row is None:
        raise missing(name)
    return read(row)


async def lock(connection: Connection, *, project: str, name: str) -> Model:
    """As `get`, and nobody else changes anything of the model before this commits."""
    found = await connection.fetchval(
        "select id from registered_model where project = $1 and name = $2"
        " and deleted_at is null for update",
        project,
        name,
    )
    if found is None:
        raise missing(name)
    return await get(connection, project=project, name=name)


async def describe(
    connection: Connection, *, model: Model, description: str | None, now: datetime
) -> None:
    """Change the description."""
    await connection.execute(
        "update registered_model set description = $2, updated_at = $3 where id = $1",
        model.id,
        description,
        now,
    )


async def rename(connection: Connection, *, model: Model, new_name: str, now: datetime) -> None:
    """Rename the model, its versions' clocks and its policy. Raises AlreadyExists."""
    try:
        async with connection.transaction():
            await connection.execute(
                "update registered_model set name = $2, updated_at = $3 where id = $1",
                model.id,
                new_name,
                now,
            )
    except asyncpg.UniqueViolationError:
        raise AlreadyExists(f"Registered Model (name={new_name}) already exists.") from None
    await connection.execute(
        "update model_version set updated_at = $2 where model_id = $1 and deleted_at is null",
        model.id,
        now,
    )
    await connection.execute(
        "update promotion_policy set model = $3 where project = $1 and model = $2"
        " and not exists (select from promotion_policy where project = $1 and model = $3)",
        model.project,
        model.name,
        new_name,
    )


async def delete(connection: Connection, *, model: Model, now: datetime) -> None:
    """Hide the model and its versions, free the name; rows stay for history and lineage."""
    await connection.execute("delete from alias where model_id = $1", model.id)
    await connection.execute(
        "update model_version set deleted_at = $2, updated_at = $2"
        " where model_id = $1 and deleted_at is null",
        model.id,
        now,
    )
    await connection.execute(
        "delete from promotion_policy where project = $1 and model = $2", model.project, model.name
    )
    await connection.execute(
        "update registered_model set deleted_at = $2, updated_at = $2 where id = $1", model.id, now
    )


async def set_tag(connection: Connection, *, model: Model, key: str, value: str) -> None:
    """Set or replace a tag."""
    await connection.execute(
        "insert into model_tag (project, model_id, key, value) values ($1, $2, $3, $4)"
        " on conflict (model_id, key) do update set value = excluded.value",
        model.project,
        model.id,
        key,
        value,
    )


async def delete_tag(connection: Connection, *, model: Model, key: str) -> bool:
    """Remove a tag; returns whether there was one."""
    gone = await connection.fetchval(
        "delete from model_tag where model_id = $1 and key = $2 returning true", model.id, key
    )
    return bool(gone)


async def touch(
    connection: Connection, *, model: Model, now: datetime, last_version: int | None = None
) -> None:
    """The model changed now; `last_version` is the highest number ever given out."""
    await connection.execute(
        "update registered_model set updated_at = $2, last_version = coalesce($3, last_version)"
        " where id = $1",
        model.id,
        now,
        last_version,
    )


async def every(connection: Connection, *, project: str) -> Sequence[Model]:
    """All living models that are not prompts, by name."""
    rows = await connection.fetch(
        f"select {COLUMNS} {FROM} where m.project = $1 and m.deleted_at is null and {_NO_PROMPT}"
        " order by m.name",
        project,
        PROMPT_TAG,
    )
    return [read(row) for row in rows]


def read(row: asyncpg.Record) -> Model:
    """A row of COLUMNS."""
    return Model(
        id=str(row["id"]),
        project=row["project"],
        name=row["name"],
        description=row["description"],
        last_version=row["last_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tags=row["tags"],
        aliases=row["aliases"],
    )


def missing(name: str) -> NotFound:
    return NotFound(f"Registered Model with name={name} not found")


def _taken(existing: Model, tags: Mapping[str, str]) -> AlreadyExists:
    old, new = _sort_of(existing.tags), _sort_of(tags)
    if old == new:
        return AlreadyExists(f"{new} (name={existing.name}) already exists.")
    return AlreadyExists(
        f"Tried to create a {new.lower()} with name {existing.name!r}, but the name is already "
        f"taken by a {old.lower()}. MLflow does not allow creating a model and a prompt with "
        "the same name."
    )


def _sort_of(tags: Mapping[str, str]) -> str:
    return "Prompt" if is_prompt(tags) else "Registered Model"
