"""A few rounds of the fault runs; `make faults` has many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.run import run_rounds
from tests.faults.servers import running_servers
from tests.faults.slots import ALL

KILL, CUT_AND_RESEND, TWO_ZOMBIES = 2, 5, 6


@pytest.mark.timeout(180)
async def test_every_event_takes_effect_once_and_in_order_whatever_dies(tmp_path: Path) -> None:
    with running_servers(ALL) as servers:
        verdicts = await run_rounds(
            servers, [KILL, CUT_AND_RESEND, TWO_ZOMBIES], evidence=tmp_path / "evidence"
        )
    assert [str(verdict) for verdict in verdicts if not verdict.sound] == []
    assert len(verdicts) == 3
