"""Making fresh backends usable: roles and schemas, topics, the bucket. Safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncpg

from headrace.runtime.blobs import Blobs
from headrace.runtime.bus.admin import apply_topics

SERVICES_WITH_SCHEMA: Final = ("tracking", "registry", "orchestrator", "serving", "monitoring")
DATABASE: Final = "headrace"

__all__ = ["DATABASE", "SERVICES_WITH_SCHEMA", "apply_bucket", "apply_roles", "apply_topics"]


async def apply_roles(
    admin_url: str, passwords: Mapping[str, str], *, database: str = DATABASE
) -> None:
    """One login role per service that owns the schema of its name and reaches nothing else.

    `admin_url` is a superuser's, to any database; `database` is created if missing.
    """
    connection = await asyncpg.connect(admin_url)
    try:
        if not await connection.fetchval(
            "select exists(select from pg_database where datname=$1)", database
        ):
            await connection.execute(f'create database "{database}"')
        for role in passwords:
            await _apply_role(connection, role, passwords[role])
    finally:
        await connection.close()
    await apply_schemas(admin_url, tuple(passwords), database=database)


async def apply_schemas(admin_url: str, roles: tuple[str, ...], *, database: str) -> None:
    """A schema for each role in one database, closed to all others."""
    connection = await asyncpg.connect(admin_url, database=database)
    try:
        await connection.execute(f'revoke all on database "{database}" from public')
        await connection.execute("revoke all on schema public from public")
        for role in roles:
            await connection.execute(f'grant connect on database "{database}" to "{role}"')
            await connection.execute(f'create schema if not exists "{role}" authorization "{role}"')
    finally:
        await connection.close()


async def apply_bucket(*, endpoint: str, bucket: str, access_key: str, secret_key: str) -> None:
    """The bucket that artifacts, segments and step outputs live in."""
    async with Blobs.open(
        endpoint=endpoint, bucket=bucket, access_key=access_key, secret_key=secret_key
    ) as blobs:
        await blobs.ensure_bucket()


async def _apply_role(connection: asyncpg.Connection, role: str, password: str) -> None:
    exists = await connection.fetchval("select exists(select from pg_roles where rolname=$1)", role)
    verb = "alter" if exists else "create"
    quoted = await connection.fetchval("select quote_literal($1)", password)
    await connection.execute(f'{verb} role "{role}" login password {quoted}')
