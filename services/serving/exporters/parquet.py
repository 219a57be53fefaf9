"""Parquet: a row a prediction, `input.<name>` and `output.<name>` a tensor.

Requests that a model failed on are rows with an `error`, in files of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.rpc.serving.v1.prediction_log_pb2 import Tensor
from services.serving.exporters.files import ExportedFile, Record, file_name
from services.serving.exporters.requests import moment
from services.serving.worker.tensors import BYTES, DTYPES

_DAY_US: Final = 86_400_000_000


def parquet_files(events: Sequence[Record]) -> list[ExportedFile]:
    """A file for each model, version, day and set of columns."""
    parts: dict[Any, list[tuple[Record, pa.Table]]] = defaultdict(list)
    for event in events:
        table = _table(event)
        days = np.array(event.data.event_times_us, np.int64) // _DAY_US
        for day in np.unique(days):
            rows = table.filter(pa.array(days == day))
            owner = event.data.project, event.data.model, event.data.version, int(day)
            parts[(*owner, rows.schema)].append((event, rows))
    return [
        ExportedFile(key=_key(*key[:4], first=found[0][0]), data=_encoded(found))
        for key, found in parts.items()
    ]


def _key(project: str, model: str, version: int, day: int, *, first: Record) -> str:
    date = moment(day * _DAY_US).date().isoformat()
    where = f"project={quote(project or 'default', safe='')}/model={quote(model, safe='')}"
    return f"{where}/version={version}/date={date}/{file_name(first, 'parquet')}"


def _encoded(parts: Sequence[tuple[Record, pa.Table]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables([table for _, table in parts]), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _table(event: Record) -> pa.Table:
    record = event.data
    rows = len(record.prediction_ids)
    moments = pa.timestamp("us", tz="UTC")
    columns: dict[str, Any] = {
        "prediction_id": pa.array(list(record.prediction_ids), pa.string()),
        "event_time": pa.array(np.array(record.event_times_us, np.int64)).cast(moments),
        "logged_at": pa.array(np.full(rows, record.logged_at_us, np.int64)).cast(moments),
        "sampling_rate": pa.array(np.full(rows, record.sampling_rate or 1.0)),
        "error": pa.array([record.error or None] * rows, pa.string()),
        "kafka_partition": pa.array(np.full(rows, event.partition, np.int32)),
        "kafka_offset": pa.array(np.full(rows, event.offset, np.int64)),
        "record_row": pa.array(np.arange(rows, dtype=np.int32)),
    }
    for side, tensors in (("input", record.inputs), ("output", record.outputs)):
        columns.update({f"{side}.{tensor.name}": _column(tensor, rows) for tensor in tensors})
    return pa.table(columns)


def _column(tensor: Tensor, rows: int) -> pa.Array:
    """One value a row, or a list of all where a row has several."""
    shape = list(tensor.shape)
    if not shape or shape[0] != rows:
        raise ValueError(f"{tensor.name}: shape {shape} does not begin with {rows} rows")
    values = _values(tensor, prod(shape))
    width = prod(shape[1:])
    return values if width == 1 else pa.FixedSizeListArray.from_arrays(values, width)


def _values(tensor: Tensor, count: int) -> pa.Array:
    if tensor.datatype == BYTES:
        return pa.array(_texts(tensor.data, count), pa.string())
    if tensor.datatype == "BF16":
        halves = np.frombuffer(tensor.data, "<u2").astype(np.uint32)
        return pa.array((halves << 16).view(np.float32))
    values = np.frombuffer(tensor.data, DTYPES[tensor.datatype])
    if len(values) != count:
        raise ValueError(f"{tensor.name}: {len(values)} values, its shape wants {count}")
    return pa.array(values)


def _texts(data: bytes, count: int) -> list[str]:
    """BYTES elements as text; what is no UTF-8 in them is replaced."""
    texts: list[str] = []
    at = 0
    while at + 4 <= len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        texts.append(data[start:at].decode(errors="replace"))
    if at != len(data) or len(texts) != count:
        raise ValueError(f"{len(data)} bytes do not hold {count} elements")
    return texts
