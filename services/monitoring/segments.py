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
import pyarrow.compute as pc
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
    by_schema: dict[tuple[tuple[str, str], ...], list[pa.Table]] = defaultdict(list)
    for batch_id, at in _by_batch(rows):
        table = _table(batches[batch_id], rows, at)
        schema = tuple((field.name, str(field.type)) for field in table.schema)
        by_schema[schema].append(table)
    return [_file(by_schema[schema]) for schema in sorted(by_schema)]


def _by_batch(rows: LabelledRows) -> list[tuple[int, IntArray]]:
    """Positions in `rows` for each micro-batch."""
    order = np.argsort(rows.batch_ids, kind="stable")
    ids, starts = np.unique(rows.batch_ids[order], return_index=True)
    return list(zip(ids.tolist(), np.split(order, starts[1:]), strict=True))


def _table(batch: Predictions, rows: LabelledRows, at: IntArray) -> pa.Table:
    places = rows.row_numbers[at]
    columns = {name: _arrow(values[places]) for name, values in sorted(batch.inputs.items())}
    ids = batch.prediction_ids
    scores = None if batch.scores is None else batch.scores[places]
    columns |= {
        "prediction_id": pa.array([ids[place] for place in places.tolist()], pa.string()),
        "event_time": pa.array(batch.event_times_us[places]).cast(_MICROSECONDS),
        "observed_at": pa.array(rows.observed_us[at]).cast(_MICROSECONDS),
        "score": pa.nulls(len(at), pa.float64()) if scores is None else pa.array(scores),
        "model_version": pa.array([str(batch.version)] * len(at), pa.string()),
        "label": pa.array(rows.labels[at]),
    }
    return pa.table(columns)


def _arrow(values: Array) -> pa.Array:
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.ndim == 1:
        return (
            pa.array(values.tolist(), pa.string()) if values.dtype.kind == "U" else pa.array(values)
        )
    flat = _arrow(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _file(tables: Sequence[pa.Table]) -> SegmentFile:
    table = pa.concat_tables(tables)
    keys = [
        ("event_time", "ascending"),
        ("prediction_id", "ascending"),
        ("observed_at", "ascending"),
    ]
    table = table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()
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
    times = table["event_time"].cast(pa.int64())
    return SegmentFile(
        data=sink.getvalue().to_pybytes(),
        rows=table.num_rows,
        first_event_us=times[0].as_py(),
        last_event_us=times[-1].as_py(),
        observed_through_us=pc.max(table["observed_at"].cast(pa.int64())).as_py(),
    )
