"""Experiments: what is read out of sums of outcomes, at any time."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from services.serving.domain.experiments import (
    Experiment,
    ExperimentPlan,
    ExperimentState,
    Metric,
    check_experiment,
    read_out,
)
from services.serving.domain.judging import Total
from services.serving.domain.traffic import Arm

MORNING = datetime(2026, 3, 2, tzinfo=UTC)


def _experiment(*, arms: int = 1, metric: Metric | None = None, alpha: float = 0.05) -> Experiment:
    plan = ExperimentPlan(
        arms=tuple(
            Arm(name=f"arm-{number}", version=number + 2, weight=1000) for number in range(arms)
        ),
        metric=metric or Metric(),
        alpha=alpha,
    )
    return Experiment(
        experiment_id="e",
        project="default",
        model="flights",
        name="test",
        plan=plan,
        state=ExperimentState.RUNNING,
        champion=1,
        table=3,
        author="ada",
        reason="",
        correlation_id="turn",
        started_at=MORNING,
    )


def _total(count: int, mean: float) -> Total:
    return Total(count=count, total=count * mean, squares=count * mean)


@st.composite
def _totals(draw: st.DrawFn) -> Total:
    count = draw(st.integers(0, 2000))
    return _total(count, draw(st.floats(0, 1)))


@given(arm=_totals(), control=_totals())
def test_an_arm_is_said_to_differ_exactly_where_its_p_value_is_below_alpha(
    arm: Total, control: Total
) -> None:
    found, base = read_out(_experiment(), {"arm-0": arm, "champion": control})
    assert found.p_value is not None
    assert found.difference is not None
    differs = found.better or found.worse
    assert differs == (found.difference.low > 0 or found.difference.high < 0)
    if abs(found.p_value - 0.05) > 1e-4:
        assert differs == (found.p_value < 0.05)
    assert (base.difference, base.p_value) == (None, None)


@given(arm=_totals(), control=_totals())
def test_what_maximizes_one_way_minimizes_the_other(arm: Total, control: Total) -> None:
    totals = {"arm-0": arm, "champion": control}
    more, _ = read_out(_experiment(metric=Metric(goal="maximize")), totals)
    less, _ = read_out(_experiment(metric=Metric(goal="minimize")), totals)
    assert (more.better, more.worse) == (less.worse, less.better)


@given(arm=_totals(), control=_totals(), low=st.floats(-50, 50), width=st.floats(0.1, 100))
def test_units_only_scale_what_is_said(
    arm: Total, control: Total, low: float, width: float
) -> None:
    totals = {"arm-0": arm, "champion": control}
    plain, _ = read_out(_experiment(), totals)
    metric = Metric(low=low, high=low + width)
    found, _ = read_out(_experiment(metric=metric), totals)
    assert found.p_value == plain.p_value
    assert found.interval.low == pytest.approx(low + width * plain.interval.low, abs=1e-6)
    assert found.difference is not None
    assert plain.difference is not None
    assert found.difference.high == pytest.approx(width * plain.difference.high, abs=1e-6)


def test_equal_arms_are_rarely_said_to_differ_however_often_one_looks() -> None:
    random = np.random.default_rng(20260302)
    experiment = _experiment(arms=3, alpha=0.1)
    wrong = 0
    for _ in range(100):
        sums = dict.fromkeys(experiment.versions, 0.0)
        for look in range(1, 21):
            for name in sums:
                sums[name] += float(random.binomial(50, 0.3))
            totals = {name: Total(count=50 * look, total=sum_) for name, sum_ in sums.items()}
            if any(each.better or each.worse for each in read_out(experiment, totals)):
                wrong += 1
                break
    assert wrong <= 10


def test_a_much_better_arm_is_found() -> None:
    found, _ = read_out(_experiment(), {"arm-0": _total(1000, 0.7), "champion": _total(1000, 0.5)})
    assert found.better
    assert found.mean == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("metric", "weights", "name", "field"),
    [
        (Metric(low=1.0, high=1.0), (10,), "e", "metric.high"),
        (Metric(kind="brier", goal="maximize"), (10,), "e", "metric.goal"),
        (Metric(), (), "e", "arms"),
        (Metric(), (0,), "e", "arms.0.percent"),
        (Metric(), (9000, 1000), "e", "arms"),
        (Metric(), (10,), "no spaces", "name"),
    ],
)
def test_what_cannot_be_an_experiment_is_refused_by_name(
    metric: Metric, weights: tuple[int, ...], name: str, field: str
) -> None:
    arms = tuple(
        Arm(name=f"arm-{place}", version=place + 2, weight=weight)
        for place, weight in enumerate(weights)
    )
    with pytest.raises(InvalidInput) as refused:
        check_experiment(name, ExperimentPlan(arms=arms, metric=metric))
    assert refused.value.field == field
