"""Servers and platforms for faults: of one test or module, since they are broken on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from deploy.local import Stack
from deploy.local.options import SERVICES
from tests.faults.servers import Servers, running_servers
from tests.faults.slots import ALL
from tests.harness.load import Load, loading


@pytest.fixture
def servers() -> Iterator[Servers]:
    """A broker, a database, and proxies for every slot."""
    with running_servers(ALL) as running:
        yield running


@pytest.fixture(scope="module")
def platform() -> Iterator[Stack]:
    """Every process of the platform, real, on ports of its own."""
    with Stack.temporary(services=SERVICES) as running:
        yield running


@pytest_asyncio.fixture
async def load(platform: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Load]:
    """What clients do; MLflow's client does not try anything again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    async with loading(platform) as prepared:
        yield prepared
