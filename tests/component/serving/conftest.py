"""Serving's processes on real backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from deploy.local import Backends
from deploy.local.testing import TestDatabase, create_database, drop_database
from tests.harness.serving_processes import Serving, serving_processes


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def shared_database(backends: Backends) -> AsyncIterator[TestDatabase]:
    made = await create_database(backends)
    yield made
    await drop_database(made)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def serving(
    backends: Backends, shared_database: TestDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    """Running processes that tests share: each has its own models, and revives what it kills."""
    directory = tmp_path_factory.mktemp("serving")
    async with serving_processes(backends, shared_database, directory) as running:
        yield running


@pytest.fixture
def model() -> str:
    """A model name of this test alone."""
    return f"model-{uuid4().hex[:12]}"
