"""Points, chunks and summaries: order, repetition and splitting never change what is kept."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracking.domain.chunks import decode, encode
from services.tracking.domain.points import (
    Columns,
    Points,
    columns_of,
    merge_columns,
    spans,
    without,
)
from services.tracking.domain.sampling import sample
from services.tracking.domain.summaries import At, Summaries, Summary, no_summaries, summaries_of
from services.tracking.domain.values import INT64_MAX

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


@given(
    st.lists(
        st.one_of(st.integers(0, 500).map(lambda n: n * 1000), st.integers(0, INT64_MAX)),
        min_size=1,
        max_size=200,
    )
)
def test_spans_hold_every_moment_and_leave_out_the_widest_gaps(moments: list[int]) -> None:
    first, last = (column.tolist() for column in spans(np.array(moments, dtype=np.int64)))
    assert all(
        any(low <= moment <= high for low, high in zip(first, last, strict=True))
        for moment in moments
    )
    assert first == sorted(first)
    assert len(first) == min(32, len(set(moments)))
    ordered = sorted(set(moments))
    gaps = sorted(high - low for low, high in pairwise(ordered))
    left_out = sorted(low - high for high, low in zip(last, first[1:], strict=False))
    assert left_out == gaps[len(gaps) - len(left_out) :]


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


def shown(summaries: Summaries) -> dict[str, str]:
    """Summaries as text, by key: NaN equals NaN."""
    return {one.key: repr(one) for one in summaries}


def expected(points: list[tuple[str, float, int, int]]) -> dict[str, str]:
    """What the summaries of points must be, reckoned point by point."""

    def rank(point: tuple[str, float, int, int]) -> tuple[int, int, float, bool]:
        _, value, time, step = point
        nan = math.isnan(value)
        return step, time, 0.0 if nan else value + 0.0, nan

    found = {}
    for key in {point[0] for point in points}:
        mine = list(packed([point for point in points if point[0] == key]).points())
        ordered = sorted(mine, key=rank)
        least, most = (
            extreme([(value, step) for _, value, _, step in mine if not math.isnan(value)], sign)
            for sign in (1, -1)
        )
        last, first = (At(point[3], point[2], point[1]) for point in (ordered[-1], ordered[0]))
        found[key] = repr(
            Summary(
                key=key,
                last=last,
                first=first,
                minimum=least[0],
                minimum_step=least[1],
                maximum=most[0],
                maximum_step=most[1],
                count=len(mine),
                total=math.fsum(value for _, value, _, _ in mine if math.isfinite(value)),
                nans=sum(math.isnan(value) for _, value, _, _ in mine),
                infinities=sum(math.isinf(value) for _, value, _, _ in mine),
            )
        )
    return found


def extreme(points: list[tuple[float, int]], sign: int) -> tuple[float | None, int | None]:
    """Value and step of the most extreme point, the earliest step if there are several."""
    if not points:
        return None, None
    return min(points, key=lambda point: (sign * point[0], point[1]))


@given(POINTS)
def test_summaries_are_what_reckoning_point_by_point_gives(
    points: list[tuple[str, float, int, int]],
) -> None:
    assert shown(summaries_of(packed(points))) == expected(points)


@given(POINTS, POINTS, POINTS)
def test_merging_summaries_is_associative_and_commutative(
    one: list[tuple[str, float, int, int]],
    two: list[tuple[str, float, int, int]],
    three: list[tuple[str, float, int, int]],
) -> None:
    a, b, c = (
        summaries_of(packed([("a", *point[1:]) for point in points]))
        for points in (one, two, three)
    )
    assert shown(a.onto(b)) == shown(b.onto(a))
    assert shown(a.onto(b).onto(c)) == shown(a.onto(b.onto(c)))


@given(POINTS, st.integers(0, 60))
def test_a_run_logged_in_two_writes_has_the_summaries_of_one_write(
    points: list[tuple[str, float, int, int]], cut: int
) -> None:
    columns = packed(points)
    unique = list(columns.points())
    first = summaries_of(packed(unique[:cut])) if unique[:cut] else no_summaries()
    second = summaries_of(packed(unique[cut:])).onto(first) if unique[cut:] else no_summaries()
    assert {**shown(first), **shown(second)} == shown(summaries_of(columns))


@given(POINTS, POINTS)
def test_what_is_stored_already_is_taken_out_exactly(
    stored: list[tuple[str, float, int, int]], given_: list[tuple[str, float, int, int]]
) -> None:
    fresh = without(packed(given_), packed(stored))
    known = set(map(repr, packed(stored).points()))
    assert list(map(repr, fresh.points())) == [
        repr(point) for point in packed(given_).points() if repr(point) not in known
    ]


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
