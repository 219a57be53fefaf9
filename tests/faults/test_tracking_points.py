"""kill -9 of service, database and broker under load: nothing acknowledged is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local import Stack
from tests.faults.tracking.judge import of_points
from tests.faults.tracking.ledger import Ledger, Series, seen
from tests.faults.tracking.plan import VICTIMS, draw
from tests.faults.tracking.rounds import carry_out, running_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_SEEDS = range(100, 106)


@pytest.fixture(scope="module")
def tracking_platform() -> Iterator[Stack]:
    """Tracking and its backends, to be killed."""
    with running_platform() as stack:
        yield stack


@pytest.mark.parametrize("seed", _SEEDS)
async def test_every_acknowledged_point_is_there_once_whoever_was_killed(
    tracking_platform: Stack, seed: int
) -> None:
    verdict = await carry_out(tracking_platform, draw(seed))
    print(verdict)
    assert verdict.judgement.violations == []
    assert verdict.ledger.writes > len(verdict.plan.kills)


def test_three_seeds_in_a_row_kill_everyone() -> None:
    for first in _SEEDS:
        killed = {kill.victim for seed in range(first, first + 3) for kill in draw(seed).kills}
        assert killed == set(VICTIMS)


def test_the_judge_tells_what_is_lost_doubled_and_never_sent() -> None:
    series, ledger = Series("run", "key"), Ledger()
    kept, lost, doubled, strange = (seen(number, number, 0.5) for number in range(4))
    ledger.acknowledged[series] = {kept, lost}
    ledger.unknown[series] = {doubled}
    told = of_points(series, [kept, doubled, doubled, strange], ledger)
    assert [line.split(" points ")[1].split(",")[0] for line in told] == [
        "lost",
        "doubled",
        "never sent",
    ]
