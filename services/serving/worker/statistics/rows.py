"""Which row of a ledger holds what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from services.serving.worker.statistics.counts import (
    BATCH_CELLS,
    VERSION_CELLS,
    ModelStatistics,
)

UNSERVED: Final = ""
"""Key of the requests for which no model was found: their failures alone."""
_SEPARATOR: Final = "\0"


def key_of(name: str, version: int, rows: int | None = None) -> str:
    """Of a version, or of its executions of so many rows."""
    parts = (name, version) if rows is None else (name, version, rows)
    return _SEPARATOR.join(map(str, parts))


def add_rows(
    rows: Iterable[tuple[str, Sequence[int]]], known: dict[tuple[str, int], ModelStatistics]
) -> None:
    """Add the counts of a ledger to those of others. What is no row of ours is left out."""
    for key, cells in rows:
        name, *numbers = key.split(_SEPARATOR)
        match [int(number) for number in numbers if number.isdecimal()]:
            case [version] if len(cells) == VERSION_CELLS:
                _of(known, name, version).add_cells(cells)
            case [version, batch] if len(cells) == BATCH_CELLS:
                _of(known, name, version).add_batch(batch, cells)


def _of(known: dict[tuple[str, int], ModelStatistics], name: str, version: int) -> ModelStatistics:
    found = known.get((name, version))
    if found is None:
        found = known[name, version] = ModelStatistics(name=name, version=version)
    return found
