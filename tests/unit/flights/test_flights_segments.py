"""Segments on disk as one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples.flights.features import CATEGORICAL, INPUTS
from examples.flights.segments import COLUMNS, read_segments, table_of
from examples.flights.training import Rows
from headrace.errors import InvalidInput


def segment(path: Path, *, code: str, rows: int = 3, without: str = "") -> Path:
    stamp = pa.array([np.datetime64("2013-01-01T06:00", "us")] * rows).cast(
        pa.timestamp("us", tz="UTC")
    )
    columns = {
        name: [code] * rows if name in CATEGORICAL else pa.array([1.0] * rows, pa.float32())
        for name in INPUTS
    }
    columns |= {"event_time": stamp, "observed_at": stamp, "label": [1.0] * rows}
    columns |= {"prediction_id": ["p"] * rows, "model_version": ["1"] * rows}
    columns.pop(without, None)
    pq.write_table(pa.table(columns), path)
    return path


def test_segments_follow_one_another_in_one_chunk(tmp_path: Path) -> None:
    paths = [segment(tmp_path / name, code=name) for name in ("b", "a")]
    table = read_segments(paths)
    assert table.column_names == list(COLUMNS)
    assert table["carrier"].to_pylist() == ["b"] * 3 + ["a"] * 3
    assert {column.num_chunks for column in table.columns} == {1}


def test_rows_survive_the_way_through_a_table(tmp_path: Path) -> None:
    rows = Rows.from_table(read_segments([segment(tmp_path / "s", code="AA")]))
    again = Rows.from_table(table_of(rows))
    assert np.array_equal(again.event_time, rows.event_time)
    assert all(np.array_equal(again.columns[name], rows.columns[name]) for name in INPUTS)


def test_a_segment_without_a_column_is_named(tmp_path: Path) -> None:
    path = segment(tmp_path / "s", code="AA", without="temp")
    with pytest.raises(InvalidInput, match="segment s has no column 'temp'"):
        read_segments([path])


def test_no_segments_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no segments"):
        read_segments([])
