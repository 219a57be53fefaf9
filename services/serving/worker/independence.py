"""Whether the rows of a run leave one another alone, so that strangers' rows may share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Final

import numpy as np

from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import BYTES, DTYPES, Array

Run = Callable[[Mapping[str, Array]], Sequence[Array]]
_ROWS: Final = 3
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
"""Engines add up in another order for more rows; that is no influence."""
_MOST_ELEMENTS: Final = 4 * 1024 * 1024
_WORDS: Final = ("", "a", "b")


def rows_are_independent(inputs: Sequence[TensorSpec], run: Run) -> bool:
    """Run some rows together, and the first and the last of them alone, and compare.

    A model that does not take such rows is given the benefit of the doubt. Where a row is so large
    that trying would take much memory, sharing runs would gain nothing either.
    """
    if sum(prod(_row_of(spec)) for spec in inputs) > _MOST_ELEMENTS:
        return False
    rng = np.random.default_rng(0)
    feed = {spec.name: _some_rows(spec, rng) for spec in inputs}
    try:
        together = run(feed)
        for row in (0, _ROWS - 1):
            alone = run({name: rows[row : row + 1] for name, rows in feed.items()})
            if not all(map(_same, (rows[row : row + 1] for rows in together), alone)):
                return False
    except Exception:
        return True
    return True


def _row_of(spec: TensorSpec) -> list[int]:
    """The smallest shape of a row."""
    return [1 if size == -1 else size for size in spec.shape[1:]]


def _some_rows(spec: TensorSpec, rng: np.random.Generator) -> Array:
    shape = (_ROWS, *_row_of(spec))
    if spec.datatype == BYTES:
        return rng.choice(np.array(_WORDS, dtype=object), shape)
    dtype = DTYPES[spec.datatype]
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _same(one: Array, other: Array) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return np.allclose(one, other, _RELATIVE, _ABSOLUTE, equal_nan=True)
    return bool((one == other).all())
