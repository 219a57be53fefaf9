"""A registry and a learner process beside serving's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from deploy.local import Backends
from tests.harness.learner import Learning, learning_processes, registry_process
from tests.harness.serving_processes import Serving


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def learning(serving: Serving, backends: Backends) -> AsyncIterator[Learning]:
    """Running processes that tests share: each has its own models and learners."""
    async with (
        registry_process(serving, backends) as registry,
        learning_processes(serving, registry) as running,
    ):
        yield running
