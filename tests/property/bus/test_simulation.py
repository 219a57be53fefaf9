"""The bus keeps its promises whatever goes wrong: one seed, one history of faults.

A seed that fails is replayed by `python -m tests.harness.simulation --seed N --trace`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.harness.simulation.mutants import MUTANTS, mutant
from tests.harness.simulation.run import simulate

_SEEDS = 200
_AT_ONCE = 20
_SEEDS_FOR_A_MUTANT = 100


@pytest.mark.parametrize("first", range(1, _SEEDS, _AT_ONCE))
def test_no_seed_breaks_a_promise(first: int) -> None:
    broken = {
        seed: violations
        for seed in range(first, first + _AT_ONCE)
        if (violations := simulate(seed).violations)
    }

    assert broken == {}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_bus_is_found_out(name: str) -> None:
    with mutant(name):
        seeds = range(1, _SEEDS_FOR_A_MUTANT + 1)

        assert any(simulate(seed).violations for seed in seeds)


def test_a_seed_gives_the_same_run_in_every_process() -> None:
    first, second = (_trace(hash_seed=hash_seed) for hash_seed in ("1", "4242"))

    assert first.count("\n") > 500
    assert first == second


def test_another_seed_gives_another_run() -> None:
    assert simulate(1).trace != simulate(2).trace


def _trace(*, hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tests.harness.simulation", "--from=1", "--seeds=8", "--trace"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    ).stdout
