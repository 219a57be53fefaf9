"""Writes parquet files as neptune-exporter does."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MOMENT = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", MOMENT),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", MOMENT),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct(
                [
                    ("type", pa.string()),
                    ("edges", pa.list_(pa.float64())),
                    ("values", pa.list_(pa.float64())),
                ]
            ),
        ),
    ]
)
VALUES = {"file_series": "file", "string_series": "string", "float_series": "float"}


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def row(
    path: str, kind: str, value: Any, *, step: str | None = None, ms: int = 0
) -> dict[str, Any]:
    """One value of one attribute."""
    held = {"path": value} if kind.startswith("file") else value
    column = f"{VALUES.get(kind, kind.removesuffix('_series'))}_value"
    series = {"step": Decimal(step), "timestamp": at(ms)} if step is not None else {}
    return {"attribute_path": path, "attribute_type": kind, column: held, **series}


def write(folder: Path, run: str, *parts: list[dict[str, Any]], project: str = "w/p") -> None:
    """The parts of a run; the folder stands for its project."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(parts):
        named = [{"project_id": project, "run_id": run, **one} for one in rows]
        table = pa.Table.from_pylist(named, schema=SCHEMA)
        pq.write_table(table, folder / f"{run}-0011_part_{number}.parquet", compression="snappy")
