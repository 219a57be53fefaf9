"""A serving of each module alone, and databases to lose."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.local import Backends
from deploy.local.testing import TestDatabase, create_database, drop_database
from tests.harness.serving_processes import Serving, serving_processes


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def databases() -> AsyncIterator[list[TestDatabase]]:
    """Databases to be dropped once nothing runs on them any more."""
    made: list[TestDatabase] = []
    yield made
    for database in made:
        await drop_database(database)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(
    backends: Backends, databases: list[TestDatabase], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    """Processes of this module alone: it takes their database away. No registry, no tracking."""
    databases.append(await create_database(backends))
    directory = tmp_path_factory.mktemp("lost")
    async with serving_processes(backends, databases[0], directory) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def fresh(backends: Backends, databases: list[TestDatabase]) -> TestDatabase:
    """An empty database."""
    databases.append(await create_database(backends))
    return databases[-1]
