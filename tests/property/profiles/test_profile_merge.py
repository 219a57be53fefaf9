"""Profiles add up: whatever way rows are cut and summed, the statistics are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.profiles import (
    CategoricalFeature,
    DayStatistics,
    PerformanceStatistics,
    ProfileSchema,
    TrainingProfile,
)

SCHEMA = ProfileSchema(
    numeric=("height", "width"),
    categorical=(CategoricalFeature(name="colour", categories=("blue", "red")),),
)

numbers = st.one_of(
    st.floats(min_value=-1e6, max_value=1e6, width=32), st.just(float("nan")), st.just(float("inf"))
)
texts = st.sampled_from(["red", "blue", "green", "", "grün"])
scores = st.floats(min_value=0.0, max_value=1.0)
labels = st.sampled_from([0.0, 1.0, float("nan")])
rows = st.lists(st.tuples(numbers, numbers, texts, scores, labels), max_size=30)

Row = tuple[float, float, str, float, float]


def day_of(chosen: list[Row]) -> DayStatistics:
    height, width, colour, score, label = zip(*chosen, strict=True) if chosen else ((),) * 5
    columns: dict[str, NDArray[Any]] = {
        "height": np.array(height, dtype=np.float32).reshape(-1, 1),
        "width": np.array(width, dtype=np.float32),
        "colour": np.array([text.encode() for text in colour], dtype=object),
        "ignored": np.zeros(len(chosen)),
    }
    return DayStatistics.of(
        SCHEMA, columns, np.array(score, dtype=np.float64), np.array(label, dtype=np.float64)
    )


def assert_same(one: DayStatistics, other: DayStatistics) -> None:
    assert one.inputs.rows == other.inputs.rows
    assert one.inputs.moments == pytest.approx(other.inputs.moments, rel=1e-9, abs=1e-3)
    assert one.inputs.score_moments == pytest.approx(other.inputs.score_moments)
    assert [c.tolist() for c in one.inputs.counts] == [c.tolist() for c in other.inputs.counts]
    mine, theirs = one.performance, other.performance
    assert (mine.rows, mine.positives) == (theirs.rows, theirs.positives)
    assert mine.log_loss_sum == pytest.approx(theirs.log_loss_sum)
    assert mine.squared_error_sum == pytest.approx(theirs.squared_error_sum)
    assert (mine.histogram == theirs.histogram).all()


@settings(deadline=None)
@given(rows, rows)
def test_merging_two_profiles_profiles_the_rows_of_both(one: list[Row], other: list[Row]) -> None:
    assert_same(day_of(one).merge(day_of(other)), day_of(one + other))


@settings(deadline=None)
@given(rows, rows, rows)
def test_the_order_of_merging_does_not_matter(a: list[Row], b: list[Row], c: list[Row]) -> None:
    left = day_of(a).merge(day_of(b)).merge(day_of(c))
    right = day_of(c).merge(day_of(b).merge(day_of(a)))
    assert_same(left, right)


@settings(deadline=None)
@given(rows)
def test_merging_nothing_changes_nothing(chosen: list[Row]) -> None:
    day = day_of(chosen)
    assert day.merge(DayStatistics.empty(SCHEMA)).to_bytes() == day.to_bytes()
    assert DayStatistics.empty(SCHEMA).merge(day).to_bytes() == day.to_bytes()


@settings(deadline=None)
@given(rows, st.sampled_from([2, 3, 8]))
def test_a_row_of_some_weight_counts_as_often_as_that(chosen: list[Row], weight: int) -> None:
    day = day_of(chosen)
    found = DayStatistics(
        inputs=day.inputs.weighted(weight), performance=day.performance.weighted(weight)
    )
    repeated = day_of(chosen * weight)

    assert found.inputs.moments == pytest.approx(repeated.inputs.moments, rel=1e-9, abs=1e-3)
    for mine, theirs in zip(found.inputs.counts, repeated.inputs.counts, strict=True):
        assert mine.tolist() == theirs.tolist()
    assert found.performance.log_loss == pytest.approx(repeated.performance.log_loss)
    assert found.performance.positive_rate == pytest.approx(repeated.performance.positive_rate)
    assert found.performance.auc == pytest.approx(repeated.performance.auc)
    assert found.inputs.weights.total == repeated.inputs.rows


@settings(deadline=None)
@given(rows, rows)
def test_rows_of_different_weight_tell_less_than_their_number(
    heavy: list[Row], light: list[Row]
) -> None:
    found = day_of(heavy).inputs.weighted(10).merge(day_of(light).inputs)

    assert found.rows == len(heavy) + len(light)
    assert found.weights.effective_rows <= found.rows * (1 + 1e-9)
    assert (found.weights.effective_rows == pytest.approx(found.rows)) == (not heavy or not light)


@settings(deadline=None)
@given(rows, st.sampled_from([1.0, 2.5, 1 / 0.3]))
def test_bytes_keep_weights_exactly(chosen: list[Row], weight: float) -> None:
    day = day_of(chosen)
    weighted = DayStatistics(
        inputs=day.inputs.weighted(weight), performance=day.performance.weighted(weight)
    )
    back = DayStatistics.from_bytes(SCHEMA, weighted.to_bytes())

    assert back.inputs.weights == weighted.inputs.weights
    assert back.performance.auc == weighted.performance.auc
    assert back.to_bytes() == weighted.to_bytes()


@settings(deadline=None)
@given(rows)
def test_bytes_keep_a_day_exactly(chosen: list[Row]) -> None:
    data = day_of(chosen).to_bytes()
    assert DayStatistics.from_bytes(SCHEMA, data).to_bytes() == data


@settings(deadline=None)
@given(st.lists(st.tuples(scores, labels), min_size=1), st.lists(st.tuples(scores, labels)))
def test_a_label_taken_out_leaves_no_trace(
    kept: list[tuple[float, float]], superseded: list[tuple[float, float]]
) -> None:
    def sums(pairs: list[tuple[float, float]]) -> PerformanceStatistics:
        array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return PerformanceStatistics.of(array[:, 0], array[:, 1])

    back = sums(kept).merge(sums(superseded)).without(sums(superseded))
    assert (back.rows, back.positives) == (sums(kept).rows, sums(kept).positives)
    assert (back.histogram == sums(kept).histogram).all()
    assert back.log_loss_sum == pytest.approx(sums(kept).log_loss_sum, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(scores, st.sampled_from([0.0, 1.0])), min_size=2, max_size=60))
def test_auc_from_the_histogram_is_that_of_the_binned_scores(
    pairs: list[tuple[float, float]],
) -> None:
    array = np.array(pairs)
    found = PerformanceStatistics.of(array[:, 0], array[:, 1]).auc
    cells = np.minimum((array[:, 0] * 1000).astype(int), 999)
    positive, negative = cells[array[:, 1] == 1], cells[array[:, 1] == 0]
    if len(positive) == 0 or len(negative) == 0:
        assert found is None
        return
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert found == pytest.approx(wins)


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=5), min_size=1, max_size=40), st.randoms())
def test_a_training_profile_cut_in_two_merges_to_the_whole(days: list[int], random: Any) -> None:
    count = len(days)
    generator = np.random.default_rng(random.randrange(2**32))
    columns: dict[str, NDArray[Any]] = {
        "height": generator.normal(size=count),
        "width": generator.normal(size=count),
        "colour": generator.choice(np.array(["red", "blue", "green"], dtype=object), count),
    }
    when = np.datetime64("2013-01-01") + np.array(days)
    score, label = generator.random(count), (generator.random(count) < 0.5).astype(float)

    def profile(index: slice) -> TrainingProfile:
        return TrainingProfile.of(
            columns={name: column[index] for name, column in columns.items()},
            days=when[index],
            scores=score[index],
            labels=label[index],
            schema=SCHEMA,
        )

    cut = count // 2
    merged, whole = profile(slice(cut)).merge(profile(slice(cut, None))), profile(slice(None))
    assert list(merged.days) == list(whole.days)
    assert_same(merged.total(), whole.total())
    assert TrainingProfile.from_bytes(whole.to_bytes()).digest == whole.digest
