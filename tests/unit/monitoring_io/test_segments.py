"""A segment is a function of its rows: the same file whatever batches they came in."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from services.monitoring.columns import Predictions
from services.monitoring.segments import LabelledRows, segment_files


def predictions(names: list[str], times: list[int], *, wide: bool = False) -> Predictions:
    count = len(names)
    inputs = {
        "temp": np.array(times, dtype=np.float32),
        "carrier": np.array([name[:2] for name in names]),
    }
    if wide:
        inputs["embedding"] = np.arange(2 * count, dtype=np.float16).reshape(count, 2)
    return Predictions(
        model="m",
        version=1,
        prediction_ids=names,
        event_times_us=np.array(times, dtype=np.int64),
        inputs=inputs,
        scores=np.linspace(0, 1, count),
    )


def labelled(places: list[tuple[int, int]]) -> LabelledRows:
    return LabelledRows(
        batch_ids=np.array([batch for batch, _ in places], dtype=np.int64),
        row_numbers=np.array([row for _, row in places], dtype=np.int64),
        labels=np.ones(len(places)),
        observed_us=np.arange(len(places), dtype=np.int64),
    )


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_the_bytes_do_not_depend_on_batches_or_their_order(seed: int, count: int) -> None:
    draw = random.Random(seed)
    names = [f"p/{i}" for i in range(count)]
    times = [draw.randint(0, 5) for _ in names]
    one = predictions(names, times)
    whole = segment_files({1: one}, labelled([(1, row) for row in range(count)]))

    order = list(range(count))
    draw.shuffle(order)
    batches, places = {}, {}
    for number, row in enumerate(order):
        alone = predictions([names[row]], [times[row]])
        assert one.scores is not None
        batches[number] = Predictions(
            model="m",
            version=1,
            prediction_ids=alone.prediction_ids,
            event_times_us=alone.event_times_us,
            inputs=alone.inputs,
            scores=one.scores[[row]],
        )
        places[row] = (number, 0)
    apart = segment_files(batches, labelled([places[row] for row in range(count)]))

    assert [file.digest for file in apart] == [file.digest for file in whole]


def test_wide_inputs_become_lists() -> None:
    (file,) = segment_files({1: predictions(["aa", "bb"], [2, 1], wide=True)}, labelled([(1, 0)]))

    table = pq.read_table(pa.BufferReader(file.data))
    assert table["embedding"].to_pylist() == [[0.0, 1.0]]
    assert (file.rows, file.first_event_us, file.last_event_us) == (1, 2, 2)


def test_rows_of_versions_without_a_score_have_none() -> None:
    bare = predictions(["aa"], [1])
    bare = Predictions(
        model="m",
        version=2,
        prediction_ids=bare.prediction_ids,
        event_times_us=bare.event_times_us,
        inputs=bare.inputs,
        scores=None,
    )

    (file,) = segment_files({1: bare}, labelled([(1, 0)]))

    table = pq.read_table(pa.BufferReader(file.data))
    assert table["score"].to_pylist() == [None]
    assert table["model_version"].to_pylist() == ["2"]
