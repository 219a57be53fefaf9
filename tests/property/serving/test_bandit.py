"""Thompson sampling finds the better arm, keeps looking at the others, and adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.serving.domain.bandit import BanditPlan, weights
from services.serving.domain.judging import Total
from services.serving.domain.traffic import BUCKETS


@st.composite
def _earned(draw: st.DrawFn) -> dict[str, Total]:
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=2, unique=True))
    return {
        name: Total(
            count=(count := draw(st.integers(0, 1000))),
            total=draw(st.floats(0, 1)) * count,
            squares=float(count),
        )
        for name in names
    }


@given(earned=_earned(), floor=st.integers(0, 1250), kind=st.sampled_from(["b", "g"]))
def test_shares_add_up_and_never_fall_below_the_floor(
    earned: dict[str, Total], floor: int, kind: str
) -> None:
    plan = BanditPlan(versions={}, floor=floor, reward="bernoulli" if kind == "b" else "gaussian")
    shares = weights(plan, earned, random=np.random.default_rng(1))
    assert sum(shares.values()) == BUCKETS
    assert min(shares.values()) >= floor


def test_arms_that_earned_nothing_yet_share_evenly() -> None:
    earned = {name: Total() for name in "abcd"}
    shares = weights(BanditPlan(versions={}), earned, random=np.random.default_rng(1))
    assert all(abs(share - BUCKETS / 4) < 300 for share in shares.values())


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_the_better_arm_gets_nearly_all_in_the_end(kind: str) -> None:
    """20 tables of 500 requests each; the arms earn 0.10 and 0.15 on average."""
    plan = BanditPlan(
        versions={}, floor=500, reward="gaussian" if kind == "gaussian" else "bernoulli"
    )
    means = {"worse": 0.10, "better": 0.15}
    won = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        earned = {name: Total() for name in means}
        shares = weights(plan, earned, random=random)
        for _ in range(20):
            for name, mean in means.items():
                count = shares[name] * 500 // BUCKETS
                given = (
                    random.normal(mean, 0.2, count)
                    if kind == "gaussian"
                    else (random.random(count) < mean).astype(float)
                )
                before = earned[name]
                earned[name] = Total(
                    count=before.count + count,
                    total=before.total + float(given.sum()),
                    squares=before.squares + float((given**2).sum()),
                )
            shares = weights(plan, earned, random=random)
        won += shares["better"] > 8000
    assert won >= 27
