"""The database's contract on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.bus.postgres import Postgres
from tests.contract.bus.database import DatabaseContract

_SERVICE = "orchestrator"


class TestRealDatabase(DatabaseContract):
    @pytest.fixture
    async def database(self, database: TestDatabase) -> AsyncIterator[Postgres]:
        url = database.url(_SERVICE)
        pool = await db.open_pool(url, schema=_SERVICE, size=4)
        await db.migrate(pool, schema=_SERVICE, packages=(db.BUS_MIGRATIONS,))
        yield Postgres(pool=pool, url=url, service=_SERVICE)
        await pool.close()
