"""A server whose disk is full is trouble that passes; what was acknowledged stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import disk
from tests.faults.plan import Backend, FullDisk, Plan
from tests.faults.rounds import running_rig
from tests.faults.servers import Servers, running_servers
from tests.faults.slots import ALL

_REASON = disk.why_not()
BACKENDS: tuple[Backend, ...] = ("postgres", "kafka")
pytestmark = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture
def servers(backend: Backend) -> Iterator[Servers]:
    """Servers of which one has a disk that can be full."""
    with running_servers(ALL, small_disks=[backend]) as running:
        yield running


async def test_a_full_disk_loses_nothing(servers: Servers, backend: Backend) -> None:
    plan = Plan(seed=0, seconds=6.0, faults=(FullDisk(at=1.0, backend=backend, seconds=3.0),))
    async with running_rig(servers) as rig:
        verdict = await rig.round(plan)
    print(verdict)
    server = servers.postgres if backend == "postgres" else servers.kafka
    assert "No space left on device" in server.log_path.read_text()
    assert verdict.violations == []
    assert verdict.restless == []
    assert verdict.events > 0
