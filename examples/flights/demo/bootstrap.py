"""January's flights become the first dataset version, from which the first model is trained."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from examples.flights.data import Flights
from examples.flights.features import CATEGORICAL, INPUTS
from headrace.events import Segment
from headrace.events.envelope import format_time
from headrace.runtime.blobs import Blobs


def labelled_table(flights: Flights) -> pa.Table:
    """Flights that arrived, in the layout of labelled segments; there was no model yet."""
    arrived = flights.take(np.flatnonzero(~np.isnan(flights.label)))
    rows = len(arrived)
    stamp = pa.timestamp("us", tz="UTC")
    columns: dict[str, Any] = {
        name: pa.array(arrived.columns[name], pa.string() if name in CATEGORICAL else pa.float32())
        for name in INPUTS
    }
    columns |= {
        "prediction_id": pa.array([f"bootstrap/{row}" for row in range(rows)], pa.string()),
        "event_time": pa.array(arrived.event_time, pa.timestamp("us")).cast(stamp),
        "observed_at": pa.array(arrived.observed_at, pa.timestamp("us")).cast(stamp),
        "score": pa.nulls(rows, pa.float64()),
        "model_version": pa.array([""] * rows, pa.string()),
        "label": pa.array(arrived.label, pa.float64()),
    }
    return pa.table(columns)


async def upload(blobs: Blobs, table: pa.Table, *, model: str) -> dict[str, Any]:
    """Store the table as one segment; returns the body that makes it a dataset version."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    stored = await blobs.put(f"uploads/{model}/january.parquet", buffer.getvalue())
    segment = Segment(
        uri=stored.uri,
        digest=stored.digest,
        size=stored.size,
        rows=table.num_rows,
        first_event_time=_first(table, "event_time"),
        last_event_time=_last(table, "event_time"),
        observed_through=_last(table, "observed_at"),
    )
    return {
        "origin": "upload",
        "model": model,
        "segments": [segment.model_dump(mode="json")],
        "labelled_through": format_time(_last(table, "observed_at")),
    }


def _first(table: pa.Table, column: str) -> datetime:
    moment: datetime = min(table[column].to_pylist())
    return moment.astimezone(UTC)


def _last(table: pa.Table, column: str) -> datetime:
    moment: datetime = max(table[column].to_pylist())
    return moment.astimezone(UTC)
