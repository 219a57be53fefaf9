"""The comparison that may be looked at all the time errs no more often than it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.serving.domain.evidence import (
    Observed,
    confidence,
    difference,
    log_evidence,
    p_value,
)
from services.serving.domain.rollouts import (
    Decision,
    Quality,
    Rollout,
    RolloutPlan,
    RolloutState,
    decide,
)
from services.serving.domain.traffic import ArmSeen, Counts, Losses

START = datetime(2026, 3, 2, tzinfo=UTC)


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_an_interval_ends_where_the_evidence_reaches_its_bound(
    count: int, mean: float, alpha: float
) -> None:
    observed = Observed(count=count, total=count * mean)
    found = confidence(observed, alpha=alpha)
    assert 0 <= found.low <= observed.total / count <= found.high <= 1
    for edge in (found.low, found.high):
        if 0 < edge < 1:
            assert log_evidence(observed, edge) == pytest.approx(-log(alpha), abs=1e-3)


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_losses_and_gains_are_judged_alike(count: int, total: int) -> None:
    total = min(total, count)
    found = confidence(Observed(count=count, total=total), alpha=0.05)
    turned = confidence(Observed(count=count, total=count - total), alpha=0.05)
    assert turned.low == pytest.approx(1 - found.high, abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "coins"),
    [(1, 1, True), (1, 49, True), (1, 1, False), (0.3, 2.7, False)],
    ids=["fair coins", "rare errors", "uniform losses", "skewed losses"],
)
def test_the_true_mean_is_hardly_ever_left_at_any_look(a: float, b: float, coins: bool) -> None:
    """600 streams of 2,000 losses, looked at after every one of them."""
    random = np.random.default_rng(7)
    mean, alpha, shape = a / (a + b), 0.1, (600, 2000)
    draws = (random.random(shape) < mean).astype(float) if coins else random.beta(a, b, shape)
    left = sum(_ever_left(stream, mean, alpha) for stream in draws)
    assert left / len(draws) <= alpha


def test_an_equal_canary_is_hardly_ever_stopped_however_often_one_looks() -> None:
    seeds = 400
    stopped = sum(
        _run(seed, errors=(0.05, 0.05), losses=(0.2, 0.2), looks=60).act == "abort"
        for seed in range(seeds)
    )
    assert stopped / seeds <= 0.05


def test_a_canary_that_is_just_too_bad_is_hardly_ever_promoted() -> None:
    """Worse than the champion by exactly what is not all right any more."""
    seeds = 200
    promoted = sum(
        _run(seed, errors=(0.061, 0.05), losses=(0.2, 0.2), looks=60).act == "promote"
        for seed in range(seeds)
    )
    assert promoted / seeds <= 0.05


def test_a_canary_that_fails_more_often_is_stopped() -> None:
    decided = [_run(seed, errors=(0.12, 0.05), losses=(0.2, 0.2), looks=60) for seed in range(60)]
    assert sum(each.act == "abort" for each in decided) >= 57
    assert all("errors: canary" in each.reason for each in decided if each.act == "abort")


def test_a_canary_with_more_loss_is_stopped_for_its_quality() -> None:
    decided = [_run(seed, errors=(0.05, 0.05), losses=(0.35, 0.2), looks=60) for seed in range(60)]
    stopped = [each for each in decided if each.act == "abort"]
    assert len(stopped) >= 57
    assert all("quality" in each.reason for each in stopped)


def test_an_equal_canary_is_promoted_in_the_end() -> None:
    decided = [_run(seed, errors=(0.01, 0.01), losses=(0.1, 0.1), looks=400) for seed in range(20)]
    assert [each.act for each in decided].count("promote") >= 19


def test_a_p_value_is_the_alpha_at_which_it_would_have_been_stopped() -> None:
    canary, champion = Observed(count=2000, total=240), Observed(count=2000, total=100)
    found = p_value(canary, champion, tolerance=0.01)
    assert 0 < found < 0.05
    assert difference(canary, champion, alpha=found * 1.01).low > 0.01
    assert difference(canary, champion, alpha=found * 0.99).low <= 0.01


def test_equal_arms_have_a_p_value_of_one() -> None:
    same = Observed(count=500, total=25)
    assert p_value(same, same, tolerance=0.0) == 1.0


def _ever_left(stream: np.ndarray, mean: float, alpha: float) -> bool:
    sums = np.cumsum(stream)
    return any(
        log_evidence(Observed(count=count, total=float(total)), mean) >= -log(alpha)
        for count, total in enumerate(sums, start=1)
    )


def _run(
    seed: int, *, errors: tuple[float, float], losses: tuple[float, float], looks: int
) -> Decision:
    """One step, looked at after every 100 requests of each arm until something is decided."""
    random = np.random.default_rng(seed)
    plan = RolloutPlan(
        version=2,
        steps=(5000,),
        step_seconds=0,
        step_requests=1,
        quality=Quality(loss="brier", tolerance=0.05),
    )
    rollout = Rollout(
        rollout_id="r",
        project="p",
        model="m",
        plan=plan,
        state=RolloutState.RUNNING,
        step=0,
        table=1,
        champion=1,
        author="a",
        reason="",
        correlation_id="c",
        started_at=START,
        step_at=START,
    )
    seen = [ArmSeen(), ArmSeen()]
    for look in range(looks):
        for place in range(2):
            judged = random.beta(losses[place] * 4, (1 - losses[place]) * 4, 50)
            seen[place] = ArmSeen(
                counts=seen[place].counts
                + Counts(requests=100, failures=int(random.binomial(100, errors[place]))),
                losses=Losses(
                    count=seen[place].losses.count + 50,
                    total=seen[place].losses.total + float(judged.sum()),
                ),
            )
        decision = decide(rollout, seen[0], seen[1], now=START + timedelta(seconds=look))
        if decision.act != "wait":
            return decision
    return decision
