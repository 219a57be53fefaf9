"""Labelled segments: Parquet bytes that depend on the rows alone.

Rows are put in order of (event time, prediction id, label time) and the encoder's settings are
fixed, so a segment that is written again after a crash is the same file under the same key.
Rows whose inputs differ in names or dtypes go to files of their own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.monitoring.columns import Array, FloatArray, Predictions
from services.monitoring.event_time import IntArray

_MICROSECONDS = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledRows:
    """Labels with the place of their prediction, column by column.

    `batch_ids` and `row_numbers` say which row of which micro-batch.
    """

    batch_ids: IntArray
    row_numbers: IntArray
    labels: FloatArray
    observed_us: IntArray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFile:
    """A segment before it is stored."""

    data: bytes
    rows: int
    first_event_us: int
    last_event_us: int
    observed_through_us: int

    @property
    def digest(self) -> str:
        """Hex sha256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


def segment_files(batches: Mapping[int, Predictions], rows: LabelledRows) -> list[SegmentFile]:
    """The files of one day, in an order that depends on the rows alone."""
    groups: dict[_Layout, list[_Part]] = defaultdict(list)
    for batch_id, at in _by_batch(rows):
        batch = batches[batch_id]
        groups[_layout(batch)].append(_Part(batch=batch, rows=rows.row_numbers[at], at=at))
    return [_file(groups[layout], rows) for layout in sorted(groups)]


_Layout = tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Labelled rows of one micro-batch: which of its rows, and where their labels are."""

    batch: Predictions
    rows: IntArray
    at: IntArray


def _layout(batch: Predictions) -> _Layout:
    """Names, dtypes and widths of the inputs; texts are alike whatever their length."""
    return tuple(
        (name, "text" if c.dtype.kind == "U" else c.dtype.str, 1 if c.ndim == 1 else c.shape[1])
        for name, c in sorted(batch.inputs.items())
    )


def _by_batch(rows: LabelledRows) -> list[tuple[int, IntArray]]:
    """Positions in `rows` for each micro-batch."""
    order = np.argsort(rows.batch_ids, kind="stable")
    ids, starts = np.unique(rows.batch_ids[order], return_index=True)
    return list(zip(ids.tolist(), np.split(order, starts[1:]), strict=True))


def _file(parts: Sequence[_Part], rows: LabelledRows) -> SegmentFile:
    at = np.concatenate([part.at for part in parts])
    ids = [part.batch.prediction_ids[row] for part in parts for row in part.rows.tolist()]
    times = np.concatenate([part.batch.event_times_us[part.rows] for part in parts])
    observed = rows.observed_us[at]
    order = np.lexsort((observed, np.array(ids, dtype=np.str_), times))
    columns = {
        name: _arrow(np.concatenate([part.batch.inputs[name][part.rows] for part in parts])[order])
        for name in sorted(parts[0].batch.inputs)
    }
    versions = np.concatenate([np.full(len(part.rows), part.batch.version) for part in parts])
    columns |= {
        "prediction_id": pa.array([ids[place] for place in order.tolist()], pa.string()),
        "event_time": pa.array(times[order]).cast(_MICROSECONDS),
        "observed_at": pa.array(observed[order]).cast(_MICROSECONDS),
        "score": pa.array(np.concatenate([_scores(p) for p in parts])[order], from_pandas=True),
        "model_version": pa.array([str(v) for v in versions[order].tolist()], pa.string()),
        "label": pa.array(rows.labels[at][order]),
    }
    return SegmentFile(
        data=_parquet(pa.table(columns)),
        rows=len(at),
        first_event_us=int(times[order[0]]),
        last_event_us=int(times[order[-1]]),
        observed_through_us=int(observed.max()),
    )


def _scores(part: _Part) -> FloatArray:
    """NaN, which the file shows as null, where a version has no score."""
    if part.batch.scores is None:
        return np.full(len(part.rows), np.nan)
    return part.batch.scores[part.rows]


def _arrow(values: Array) -> pa.Array:
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(_arrow(values.reshape(-1)), values.shape[1])
    if values.dtype.kind == "U":
        return pa.array(values.tolist(), pa.string())
    return pa.array(values.astype(np.float32) if values.dtype == np.float16 else values)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        row_group_size=1_048_576,
        data_page_version="2.0",
        version="2.6",
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
