"""A server whose disk is full is trouble that passes; what was acknowledged stays."""

from __future__ import annotations

import pytest

from tests.faults import disk
from tests.faults.plan import Backend, FullDisk, Plan
from tests.faults.rounds import running_rig
from tests.faults.servers import running_servers
from tests.faults.slots import ALL

_REASON = disk.why_not()


@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
@pytest.mark.parametrize("backend", ["postgres", "kafka"])
async def test_a_full_disk_loses_nothing(backend: Backend) -> None:
    plan = Plan(seed=0, seconds=6.0, faults=(FullDisk(at=1.0, backend=backend, seconds=3.0),))
    with running_servers(ALL, small_disks=[backend]) as servers:
        async with running_rig(servers) as rig:
            verdict = await rig.round(plan)
        server = servers.postgres if backend == "postgres" else servers.kafka
        assert "No space left on device" in server.log_path.read_text()
    print(verdict)
    assert verdict.violations == []
    assert verdict.restless == []
    assert verdict.events > 0
