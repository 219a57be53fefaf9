"""A few rounds of the fault runs; `make faults` has many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.run import run_rounds
from tests.faults.servers import Servers, running_servers
from tests.faults.slots import ALL

KILL, CUT_AND_RESEND, TWO_ZOMBIES = 2, 5, 6


@pytest.fixture
def servers() -> Iterator[Servers]:
    """A broker and a database of their own, since they are killed."""
    with running_servers(ALL) as running:
        yield running


@pytest.mark.timeout(180)
async def test_every_event_takes_effect_once_and_in_order_whatever_dies(
    servers: Servers, tmp_path: Path
) -> None:
    seeds = [KILL, CUT_AND_RESEND, TWO_ZOMBIES]
    run = await run_rounds(servers, seeds, evidence=tmp_path / "evidence")
    assert [str(verdict) for verdict in run.verdicts if not verdict.sound] == []
    assert len(run.verdicts) == len(seeds)
    assert run.late == []
    assert all(verdict.histories[0].offsets for verdict in run.verdicts)
