from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cli.imports.parts import MAX_KEYS, MAX_TEXT, joined, run_end, run_parts
from headrace.cli.imports.sources import SLICE, Dataset, Run, Series, series_of

ORIGIN = {"source": "test"}


def steps(key: str, count: int) -> Series:
    numbers = np.arange(count)
    return series_of(key, numbers.astype(np.float64), numbers, numbers)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 120_000), max_size=3))
def test_points_fill_requests_and_none_is_lost(counts: list[int]) -> None:
    series = [steps(f"m{place}", count) for place, count in enumerate(counts)]
    _, *parts = run_parts(Run(run_id="r"), series, origin=ORIGIN)
    sizes = [sum(len(one["values"]) for one in part["metrics"]) for part in parts]
    assert sum(sizes) == sum(counts)
    assert all(size <= SLICE for size in sizes)
    for place, count in enumerate(counts):
        columns = [one for part in parts for one in part["metrics"] if one["key"] == f"m{place}"]
        assert np.concatenate([one["steps"] for one in columns]).tolist() == list(range(count))


def test_a_request_names_a_bounded_number_of_metrics() -> None:
    series = [steps(f"m{place}", 1) for place in range(2 * MAX_KEYS + 1)]
    _, *parts = run_parts(Run(run_id="r"), series, origin=ORIGIN)
    assert [len(part["metrics"]) for part in parts] == [MAX_KEYS, MAX_KEYS, 1]


def test_long_texts_are_spread_over_requests() -> None:
    params = {f"p{place}": "x" * 6000 for place in range(100)}
    dataset = Dataset(name="d", digest="1", source_type="t", source="s", schema="y" * MAX_TEXT)
    parts = list(run_parts(Run(run_id="r", params=params, datasets=[dataset]), [], origin=ORIGIN))
    assert sum(len(part.get("params", ())) for part in parts) == 100
    assert all(len(part.get("params", ())) * 6000 <= MAX_TEXT for part in parts)
    assert [len(part.get("datasets", ())) for part in parts] == [0] * (len(parts) - 1) + [1]


def test_numbers_that_json_lacks_are_words() -> None:
    series = series_of("m", [math.nan, math.inf, -math.inf, 1.0], [1, 2, 3, 4], [1, 2, 3, 4])
    _, part = run_parts(Run(run_id="r"), [series], origin=ORIGIN)
    assert part["metrics"][0]["values"] == ["NaN", "Infinity", "-Infinity", 1.0]


def test_tags_of_an_earlier_import_are_not_copied() -> None:
    tags = {"headrace.import.fingerprint": "old", "t": "x"}
    (part,) = run_parts(Run(run_id="r", tags=tags), [], origin=ORIGIN)
    assert part["tags"] == [
        {"key": "t", "value": "x"},
        {"key": "headrace.import.source", "value": "test"},
    ]


def test_the_end_may_come_with_the_last_part() -> None:
    run = Run(run_id="r", status="FAILED", end_time=5, tags={"t": "x"})
    (part,) = run_parts(run, [], origin={})
    last = joined(part, run_end(run, fingerprint="f"))
    assert (last["status"], last["end_time"]) == ("FAILED", 5)
    assert [tag["key"] for tag in last["tags"]] == ["t", "headrace.import.fingerprint"]
