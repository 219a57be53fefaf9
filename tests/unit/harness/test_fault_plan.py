"""Plans are drawn from a seed alone, and every kind of fault is drawn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.plan import (
    TRAFFIC_SECONDS,
    Crash,
    Disturb,
    Freeze,
    FreezeServer,
    Join,
    Kill,
    KillServer,
    Resend,
    Zombie,
    draw,
)
from tests.faults.slots import CONSUMERS, PRODUCERS

SEEDS = range(1, 101)
KINDS = {Kill, Crash, Freeze, Zombie, KillServer, FreezeServer, Disturb, Join, Resend}


@given(seed=st.integers(0, 10**9))
def test_a_seed_has_one_plan(seed: int) -> None:
    assert draw(seed) == draw(seed)


@given(seed=st.integers(0, 10**9))
def test_faults_come_while_events_flow_in_the_order_of_their_time(seed: int) -> None:
    times = [fault.at for fault in draw(seed).faults]
    assert times == sorted(times)
    assert all(0 < at < TRAFFIC_SECONDS for at in times)


def test_a_hundred_seeds_have_faults_of_every_kind() -> None:
    assert {type(fault) for seed in SEEDS for fault in draw(seed).faults} == KINDS


def test_a_hundred_seeds_disturb_in_every_way_and_crash_at_every_point() -> None:
    faults = [fault for seed in SEEDS for fault in draw(seed).faults]
    ways = {(one.how, one.backend) for one in faults if isinstance(one, Disturb)}
    assert len(ways) == 8
    assert len({one.point for one in faults if isinstance(one, Crash)}) == 4


def test_a_hundred_seeds_have_two_zombies_of_one_service_at_once() -> None:
    pairs = [[one.slot for one in draw(seed).faults if isinstance(one, Zombie)] for seed in SEEDS]
    assert any(set(pair) in ({*PRODUCERS}, {*CONSUMERS}) for pair in pairs)
