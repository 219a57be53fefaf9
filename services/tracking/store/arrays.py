"""Columns of numbers as PostgreSQL reads arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray


def array_text(column: NDArray[np.float64] | NDArray[np.int64] | Sequence[object]) -> str:
    """The text of an array of numbers; None is NULL. Every double keeps its value."""
    if isinstance(column, np.ndarray):
        if np.isfinite(column).all():
            return _braced(np.ascontiguousarray(column))
        column = column.tolist()
    if any(isinstance(value, float) and not math.isfinite(value) for value in column):
        return "{" + ",".join("NULL" if value is None else repr(value) for value in column) + "}"
    return _braced(list(column))


def _braced(column: object) -> str:
    text = orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return "{" + text[1:-1] + "}"
