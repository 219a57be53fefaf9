"""Labelled segments on disk as one table, and rows back as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from examples.flights.features import CATEGORICAL, INPUTS
from examples.flights.training import Rows
from headrace.errors import InvalidInput

COLUMNS: Final = (*INPUTS, "event_time", "observed_at", "label")


def read_segments(paths: Sequence[Path]) -> pa.Table:
    """Only the columns that training reads, in the order of the segments, one chunk each.

    Codes are dictionary-encoded. Raises InvalidInput if a segment lacks a column.
    """
    if not paths:
        raise InvalidInput("the dataset version has no segments")
    parts = [_read(path) for path in paths]
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks()


def table_of(rows: Rows) -> pa.Table:
    """Rows in the layout of a segment."""
    return pa.table(
        {
            **{name: rows.columns[name] for name in INPUTS},
            "event_time": rows.event_time,
            "observed_at": rows.observed_at,
            "label": rows.label,
        }
    )


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path, read_dictionary=list(CATEGORICAL)) as file:
        missing = sorted(set(COLUMNS) - set(file.schema_arrow.names))
        if missing:
            message = f"segment {path.name} has no column {missing[0]!r}"
            raise InvalidInput(message, field=missing[0])
        return file.read(columns=list(COLUMNS), use_threads=False).select(COLUMNS)
