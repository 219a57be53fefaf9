"""The real database of one service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.bus.postgres import Postgres

SERVICE = "orchestrator"


@pytest.fixture
async def postgres(database: TestDatabase) -> AsyncIterator[Postgres]:
    """The bus's port to a database of this test alone."""
    url = database.url(SERVICE)
    pool = await db.open_pool(url, schema=SERVICE, size=4)
    await db.migrate(pool, schema=SERVICE, packages=(db.BUS_MIGRATIONS,))
    yield Postgres(pool=pool, url=url, service=SERVICE)
    await pool.close()
