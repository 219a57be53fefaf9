"""Keys stay where they are: over replicas, restarts and ramps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.serving.domain.traffic import BUCKETS, Interval, assign
from services.serving.worker.routing.buckets import bucket_of

CHECKOUT = Path(__file__).parents[3]
KEYS = 1_000_000


def _owners(intervals: tuple[Interval, ...]) -> list[str]:
    owners: list[str] = []
    for interval in intervals:
        assert interval.start == len(owners)
        owners.extend([interval.arm] * (interval.end - interval.start))
    return owners


@st.composite
def _weights(draw: st.DrawFn) -> dict[str, int]:
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=5))
    cuts = sorted(draw(st.lists(st.integers(0, BUCKETS), min_size=len(names), max_size=len(names))))
    edges = [0, *cuts]
    given_weights = {name: edges[place + 1] - edges[place] for place, name in enumerate(names)}
    return {**given_weights, "champion": BUCKETS - edges[-1]}


@pytest.fixture(scope="module")
def buckets() -> np.ndarray:
    """The bucket of each of a million keys."""
    return np.fromiter(
        (bucket_of(b"salt", b"user-%d" % number) for number in range(KEYS)), np.int64, KEYS
    )


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_a_million_keys_are_split_within_a_fifth_of_a_point(
    buckets: np.ndarray, percent: int
) -> None:
    owners = np.array(_owners(assign({"canary": percent * 100, "champion": (100 - percent) * 100})))
    share = float(np.mean(owners[buckets] == "canary")) * 100
    assert abs(share - percent) <= 0.2


def test_every_bucket_gets_its_share_of_a_million_keys(buckets: np.ndarray) -> None:
    counts = np.bincount(buckets, minlength=BUCKETS)
    chi_square = float(np.sum((counts - KEYS / BUCKETS) ** 2) / (KEYS / BUCKETS))
    assert abs(chi_square - (BUCKETS - 1)) < 5 * (2 * BUCKETS) ** 0.5


def test_a_ramp_from_10_to_20_percent_moves_a_tenth_of_the_keys(buckets: np.ndarray) -> None:
    before = assign({"canary": 1000, "champion": 9000})
    after = assign({"canary": 2000, "champion": 8000}, before)
    old, new = np.array(_owners(before))[buckets], np.array(_owners(after))[buckets]
    assert abs(float(np.mean(old != new)) - 0.10) <= 0.002
    assert not np.any((old == "canary") & (new != "canary"))


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_every_process_puts_a_key_into_the_same_bucket(seed: str) -> None:
    code = (
        "from services.serving.worker.routing.buckets import bucket_of\n"
        "print([bucket_of(b'salt', b'user-%d' % number) for number in range(200)])"
    )
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT}/shared"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=CHECKOUT, capture_output=True, check=True
    )
    here = [bucket_of(b"salt", b"user-%d" % number) for number in range(200)]
    assert told.stdout.decode().strip() == str(here)


def test_the_hash_is_the_one_that_was_always_used() -> None:
    """A change would move every key of every running experiment."""
    assert [bucket_of(b"s", key) for key in (b"", b"a", b"user-1")] == [9003, 6900, 7085]


def test_another_salt_puts_keys_elsewhere(buckets: np.ndarray) -> None:
    other = np.array([bucket_of(b"other", b"user-%d" % number) for number in range(20_000)])
    both = float(np.mean((buckets[:20_000] < 5000) == (other < 5000)))
    assert abs(both - 0.5) < 0.02


@given(weights=_weights(), later=_weights())
def test_a_change_moves_exactly_the_difference(
    weights: dict[str, int], later: dict[str, int]
) -> None:
    before = _owners(assign(weights))
    after = _owners(assign(later, assign(weights)))
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    grown = sum(max(0, weight - weights.get(name, 0)) for name, weight in later.items())
    assert moved == grown
    assert {name: after.count(name) for name in later} == later
