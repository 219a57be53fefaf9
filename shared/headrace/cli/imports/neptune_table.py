"""Rows of neptune-exporter's parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.cli.imports.extra import library
from headrace.cli.imports.names import unique_keys
from headrace.cli.imports.sources import Series, Unreadable, series_of

SCALARS: Final = {
    "int": "int_value",
    "float": "float_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
_NEEDED: Final = frozenset(
    {"project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp"}
)
Table = Any
"""A pyarrow Table; pyarrow comes without types."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The run that a parquet file is of."""

    project: str
    run: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalarRow:
    """An attribute that has one value."""

    path: str
    value: object


def read_part(part: Path) -> Table:
    """One parquet file as a whole. Raises Unreadable, Missing."""
    pyarrow, parquet = library("pyarrow"), library("pyarrow.parquet")
    try:
        table = parquet.read_table(part)
    except (pyarrow.ArrowException, OSError) as error:
        raise Unreadable(f"{part.name}: {' '.join(str(error).split())[:300]}") from error
    missing = _NEEDED - set(table.column_names)
    if missing:
        raise Unreadable(f"{part.name} is not of neptune-exporter: no {', '.join(sorted(missing))}")
    return table


def owner_of(table: Table) -> Owner:
    """Whose rows these are: all of one run's. Raises Unreadable for no rows."""
    if not len(table):
        raise Unreadable("no row says which run it is of")
    return Owner(project=str(table["project_id"][0].as_py()), run=str(table["run_id"][0].as_py()))


def rows_of(table: Table, *types: str) -> Table:
    """The rows whose attribute is of one of these types."""
    pyarrow, compute = library("pyarrow"), library("pyarrow.compute")
    return table.filter(compute.is_in(table["attribute_type"], pyarrow.array(types)))


def scalar_rows(table: Table) -> list[ScalarRow]:
    """Attributes with one value; those without one are left out."""
    found = []
    for row in rows_of(table, *SCALARS).to_pylist():
        value = row.get(SCALARS[row["attribute_type"]])
        if value is not None:
            found.append(ScalarRow(path=row["attribute_path"], value=value))
    return found


def float_series(table: Table, *, multiplier: int, missing_time: int) -> Iterator[Series]:
    """The points of every float series; those without a value are left out."""
    rows = rows_of(table, "float_series")
    rows = rows.filter(library("pyarrow.compute").is_valid(rows["float_value"]))
    if not len(rows):
        return
    values: NDArray[np.float64] = rows["float_value"].to_numpy()
    steps = steps_of(rows, multiplier=multiplier)
    times = times_of(rows, missing=missing_time)
    paths = rows["attribute_path"].combine_chunks().dictionary_encode()
    codes: NDArray[np.int64] = paths.indices.to_numpy()
    names: list[str] = paths.dictionary.to_pylist()
    keys = unique_keys(names)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for number, name in enumerate(names):
        place = order[bounds[number] : bounds[number + 1]]
        yield series_of(keys[name], values[place], times[place], steps[place])


def steps_of(rows: Table, *, multiplier: int) -> NDArray[np.int64]:
    """Decimal steps as integers; a missing one is 0."""
    pyarrow = library("pyarrow")
    steps = rows["step"].cast(pyarrow.float64()).fill_null(0.0).to_numpy()
    scaled = np.asarray(steps, dtype=np.float64) * multiplier
    return np.trunc(scaled + np.copysign(1e-9, scaled)).astype(np.int64)


def times_of(rows: Table, *, missing: int) -> NDArray[np.int64]:
    """Timestamps in milliseconds since the epoch."""
    pyarrow = library("pyarrow")
    moments = rows["timestamp"].cast(pyarrow.timestamp("ms", tz="UTC")).cast(pyarrow.int64())
    return np.asarray(moments.fill_null(missing).to_numpy(), dtype=np.int64)
