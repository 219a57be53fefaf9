"""A process and its database must agree on the schema; otherwise it says which file differs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from deploy.local import Backends
from deploy.local.testing import TestDatabase
from headrace.runtime import db
from tests.harness.small_service import NAME, Notes, living, settings


@pytest_asyncio.fixture
async def http(backends: Backends, database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with living(Notes(settings(backends, database_url=database.url(NAME)))) as (client, _):
        yield client


async def reasons(http: httpx.AsyncClient) -> list[str]:
    found: list[str] = (await http.get("/readyz")).json()["reasons"]
    return found


async def test_a_database_that_a_newer_version_has_migrated_makes_the_older_unready(
    http: httpx.AsyncClient,
) -> None:
    await http.post(
        "/sql",
        content="insert into migration select distinct package, '0099_later.sql' from migration",
    )

    (reason,) = await reasons(http)
    assert reason.startswith(f"schema: the database has {db.BUS_MIGRATIONS}/0099_later.sql,")


async def test_a_migration_that_is_not_applied_makes_the_process_unready(
    http: httpx.AsyncClient,
) -> None:
    first = db.migration_names(db.BUS_MIGRATIONS)[0]
    await http.post("/sql", content="delete from migration where file like '0001%'")

    assert await reasons(http) == [
        f"schema: {db.BUS_MIGRATIONS}/{first} is not applied to the database"
    ]
    assert (await http.get("/readyz")).json()["ready"] is False
