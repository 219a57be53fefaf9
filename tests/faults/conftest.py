"""Servers of one test, since the test kills them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.servers import Servers, running_servers
from tests.faults.slots import ALL


@pytest.fixture
def servers() -> Iterator[Servers]:
    """A broker, a database, and proxies for every slot."""
    with running_servers(ALL) as running:
        yield running
