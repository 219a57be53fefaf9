"""Points, chunks and summaries: order, repetition and splitting never change what is kept."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracking.domain.chunks import decode, encode
from services.tracking.domain.points import INT64_MAX, Columns, Points, columns_of, merge_columns
from services.tracking.domain.sampling import sample
from services.tracking.domain.summaries import (
    Summary,
    merge,
    summarise,
    summary_of,
    summary_of_columns,
)

WHOLE = st.integers(-50, 50).map(float)
VALUES = st.one_of(WHOLE, st.sampled_from([math.nan, math.inf, -math.inf, -0.0]))
POINT = st.tuples(st.sampled_from(["a", "b", "b/c"]), VALUES, st.integers(0, 5), st.integers(-3, 3))
POINTS = st.lists(POINT, min_size=1, max_size=60)
WIDE = st.tuples(
    st.sampled_from(["a", "b"]),
    st.floats(),
    st.integers(0, INT64_MAX),
    st.integers(-INT64_MAX - 1, INT64_MAX),
)


def shown(summary: Summary) -> str:
    """A summary as text: NaN equals NaN."""
    return repr(summary)


def packed(points: list[tuple[str, float, int, int]]) -> Columns:
    return columns_of(Points.of(points))


@given(st.lists(WIDE, min_size=1, max_size=200))
def test_a_chunk_gives_back_its_points(points: list[tuple[str, float, int, int]]) -> None:
    columns = packed(points)
    chunk = encode(columns, digest=columns.digest())
    again = decode(keys=chunk.keys, codec=chunk.codec, body=chunk.body)
    assert list(map(repr, again.points())) == list(map(repr, columns.points()))
    assert chunk.points == len(again)
    assert chunk.first_timestamp == min(point[2] for point in points)


@given(POINTS, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_change_a_batch(
    points: list[tuple[str, float, int, int]], random: object
) -> None:
    shuffled = points * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = packed(points), packed(shuffled)
    assert one.digest() == other.digest()
    identities = {(key, repr(value + 0.0), time, step) for key, value, time, step in points}
    assert len(one) == len(identities)


@given(POINTS, POINTS)
def test_chunks_that_overlap_show_each_point_once_in_order(
    one: list[tuple[str, float, int, int]], other: list[tuple[str, float, int, int]]
) -> None:
    merged = merge_columns("b", [packed(one), packed(other), packed(one)])
    whole = packed([*one, *other]).only("b")
    assert list(map(repr, merged.points())) == list(map(repr, whole.points()))
    times = merged.timestamps.tolist()
    assert times == sorted(times)


@given(POINTS, POINTS, POINTS)
def test_merging_summaries_is_associative_and_commutative(
    one: list[tuple[str, float, int, int]],
    two: list[tuple[str, float, int, int]],
    three: list[tuple[str, float, int, int]],
) -> None:
    a, b, c = (
        reduce(merge, (summary_of(("a", value + 0.0, at, step)) for _, value, at, step in points))
        for points in (one, two, three)
    )
    assert shown(merge(a, b)) == shown(merge(b, a))
    assert shown(merge(merge(a, b), c)) == shown(merge(a, merge(b, c)))


@given(st.lists(POINT, min_size=16, max_size=60))
def test_a_summary_by_columns_is_the_merge_of_its_points(
    points: list[tuple[str, float, int, int]],
) -> None:
    values = np.array([value + 0.0 for _, value, _, _ in points])
    times = np.array([time for _, _, time, _ in points], dtype=np.int64)
    steps = np.array([step for _, _, _, step in points], dtype=np.int64)
    by_columns = summary_of_columns("a", values, times, steps)
    singles = (
        summary_of(("a", value, time, step))
        for value, time, step in zip(values.tolist(), times.tolist(), steps.tolist(), strict=True)
    )
    assert shown(by_columns) == shown(reduce(merge, singles))


@given(POINTS, st.integers(0, 60))
def test_a_run_logged_in_two_writes_has_the_summaries_of_one_write(
    points: list[tuple[str, float, int, int]], cut: int
) -> None:
    columns = packed(points)
    unique = list(columns.points())
    first = summarise(packed(unique[:cut]), {}) if unique[:cut] else {}
    second = summarise(packed(unique[cut:]), first) if unique[cut:] else {}
    assert {key: shown(one) for key, one in {**first, **second}.items()} == {
        key: shown(one) for key, one in summarise(columns, {}).items()
    }


@settings(max_examples=50)
@given(st.integers(0, 300), st.integers(1, 40))
def test_a_sample_keeps_both_ends_and_its_bound(count: int, most: int) -> None:
    columns = packed([("a", float(i), i, i) for i in range(count)])
    steps = sample(columns, most=most).steps.tolist()
    assert len(steps) == min(count, most)
    assert steps == sorted(set(steps))
    if count:
        assert steps[-1] == count - 1
        assert most == 1 or steps[0] == 0
