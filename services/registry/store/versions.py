"""Model versions: immutable content, mutable description, tags and stage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from headrace.errors import NotFound
from headrace.events import FileRef
from headrace.ids import new_id
from headrace.runtime.db import Connection
from services.registry.domain.records import Model, NewVersion, Version

COLUMNS = """
    v.id, v.project, v.model_id, m.name as model, v.version, v.source, v.location, v.run_id,
    v.logged_model_id, v.run_link, v.description, v.stage, v.digest, v.event_id,
    v.correlation_id, v.created_at, v.updated_at,
    (select coalesce(jsonb_object_agg(t.key, t.value), '{}') from version_tag t
        where t.version_id = v.id) as tags,
    array(select a.alias from alias a where a.version_id = v.id order by a.alias) as aliases
"""
FROM = "from model_version v join registered_model m on m.id = v.model_id"


async def create(
    connection: Connection,
    *,
    model: Model,
    new: NewVersion,
    event_id: str,
    correlation_id: str,
    now: datetime,
) -> Version:
    """The next version of a model that the caller has locked."""
    identity = new_id()
    await connection.execute(
        "insert into model_version (id, project, model_id, version, source, location, run_id,"
        " logged_model_id, run_link, description, digest, idempotency_key, event_id,"
        " correlation_id, created_at, updated_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)",
        identity,
        model.project,
        model.id,
        model.last_version + 1,
        new.source,
        new.content.location,
        new.content.run_id,
        new.content.logged_model_id,
        new.run_link,
        new.description,
        new.content.digest,
        new.idempotency_key,
        event_id,
        correlation_id,
        now,
    )
    await connection.executemany(
        "insert into version_tag (project, version_id, key, value) values ($1, $2, $3, $4)",
        [(model.project, identity, key, value) for key, value in new.tags.items()],
    )
    await connection.executemany(
        "insert into version_file (project, version_id, path, uri, digest, size)"
        " values ($1, $2, $3, $4, $5, $6)",
        [
            (model.project, identity, file.path, file.uri, file.digest, file.size)
            for file in new.content.files
        ],
    )
    return await get(
        connection, project=model.project, name=model.name, version=model.last_version + 1
    )


async def get(connection: Connection, *, project: str, name: str, version: int) -> Version:
    """A living version. Raises NotFound."""
    row = await connection.fetchrow(
        f"select {COLUMNS} {FROM} where m.project = $1 and m.name = $2 and v.version = $3"
        " and m.deleted_at is null and v.deleted_at is null",
        project,
        name,
        version,
    )
    if row is None:
        raise NotFound(f"Model Version (name={name}, version={version}) not found")
    return read(row)


async def find_idempotent(
    connection: Connection, *, model: Model, key: str | None
) -> Version | None:
    """The version that was made under this key, if it lives."""
    if key is None:
        return None
    row = await connection.fetchrow(
        f"select {COLUMNS} {FROM} where v.model_id = $1 and v.idempotency_key = $2"
        " and v.deleted_at is null",
        model.id,
        key,
    )
    return None if row is None else read(row)


async def identity_of(
    connection: Connection, *, project: str, model: str, version: int
) -> str | None:
    """UUID of the version that an event names, deleted or not."""
    found = await connection.fetchval(
        "select v.id from model_version v join registered_model m on m.id = v.model_id"
        " where m.project = $1 and m.name = $2 and v.version = $3"
        " order by m.deleted_at nulls first limit 1",
        project,
        model,
        version,
    )
    return None if found is None else str(found)


async def files(connection: Connection, *, version_id: str) -> tuple[FileRef, ...]:
    """The file manifest, by path."""
    rows = await connection.fetch(
        "select path, uri, digest, size from version_file where version_id = $1 order by path",
        version_id,
    )
    return tuple(FileRef(**row) for row in rows)


async def live_numbers(connection: Connection, *, model: Model) -> set[int]:
    """Numbers of the versions that are not deleted."""
    rows = await connection.fetch(
        "select version from model_version where model_id = $1 and deleted_at is null", model.id
    )
    return {row["version"] for row in rows}


async def of_model(connection: Connection, *, model: Model, limit: int) -> list[Version]:
    """Living versions, newest first."""
    rows = await connection.fetch(
        f"select {COLUMNS} {FROM} where v.model_id = $1 and v.deleted_at is null"
        " order by v.version desc limit $2",
        model.id,
        limit,
    )
    return [read(row) for row in rows]


async def latest(
    connection: Connection, *, model_ids: Sequence[str], stages: Sequence[str]
) -> list[Version]:
    """The highest version of each model in each of the stages."""
    rows = await connection.fetch(
        f"select distinct on (v.model_id, v.stage) {COLUMNS} {FROM}"
        " where v.model_id = any($1::uuid[]) and v.stage = any($2::text[])"
        " and v.deleted_at is null order by v.model_id, v.stage, v.version desc",
        list(model_ids),
        list(stages),
    )
    return [read(row) for row in rows]


async def describe(
    connection: Connection, *, version: Version, description: str | None, now: datetime
) -> None:
    """Change the description."""
    await connection.execute(
        "update model_version set description = $2, updated_at = $3 where id = $1",
        version.id,
        description,
        now,
    )


async def set_stage(
    connection: Connection, *, version: Version, stage: str, archive_others: bool, now: datetime
) -> None:
    """Move a version to a stage; those that were there go to Archived if told."""
    if archive_others:
        await connection.execute(
            "update model_version set stage = 'Archived', updated_at = $4"
            " where model_id = $1 and stage = $2 and id <> $3 and deleted_at is null",
            version.model_id,
            stage,
            version.id,
            now,
        )
    await connection.execute(
        "update model_version set stage = $2, updated_at = $3 where id = $1",
        version.id,
        stage,
        now,
    )


async def delete(connection: Connection, *, version: Version, now: datetime) -> None:
    """Hide the version; its row stays for history and lineage, its number is not given again."""
    await connection.execute(
        "update model_version set deleted_at = $2, updated_at = $2 where id = $1", version.id, now
    )


async def set_tag(connection: Connection, *, version: Version, key: str, value: str) -> None:
    """Set or replace a tag."""
    await connection.execute(
        "insert into version_tag (project, version_id, key, value) values ($1, $2, $3, $4)"
        " on conflict (version_id, key) do update set value = excluded.value",
        version.project,
        version.id,
        key,
        value,
    )


async def delete_tag(connection: Connection, *, version: Version, key: str) -> bool:
    """Remove a tag; returns whether there was one."""
    gone = await connection.fetchval(
        "delete from version_tag where version_id = $1 and key = $2 returning true",
        version.id,
        key,
    )
    return bool(gone)


def read(row: asyncpg.Record) -> Version:
    """A row of COLUMNS."""
    return Version(
        id=str(row["id"]),
        project=row["project"],
        model_id=str(row["model_id"]),
        model=row["model"],
        version=row["version"],
        source=row["source"],
        location=row["location"],
        run_id=row["run_id"],
        logged_model_id=row["logged_model_id"],
        run_link=row["run_link"],
        description=row["description"],
        stage=row["stage"],
        digest=row["digest"],
        event_id=str(row["event_id"]),
        correlation_id=row["correlation_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tags=row["tags"],
        aliases=tuple(row["aliases"]),
    )
