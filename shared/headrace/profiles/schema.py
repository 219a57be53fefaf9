"""What a profile counts: numeric features, and categorical ones with their categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidInput

Columns = Mapping[str, NDArray[Any]]
"""Input tensors by name; the first dimension of each is the rows. Strings may be str or bytes."""

MAX_TENSOR_WIDTH = 64
"""A tensor [n, k] is profiled as k features `name[i]`; beyond this width only its first ones."""


@dataclass(frozen=True, kw_only=True)
class CategoricalFeature:
    """A string input; every value that is not one of `categories` is counted as other."""

    name: str
    categories: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProfileSchema:
    """Which features are profiled; statistics add up only under the same schema."""

    numeric: tuple[str, ...]
    categorical: tuple[CategoricalFeature, ...]

    @classmethod
    def infer(cls, columns: Columns, *, max_categories: int = 255) -> ProfileSchema:
        """Numbers become numeric; strings categorical, with their most frequent values."""
        numeric: list[str] = []
        categorical: list[CategoricalFeature] = []
        for name, column in flat_columns(columns):
            if is_text(column):
                ranked = sorted(count_texts(column).items(), key=lambda item: (-item[1], item[0]))
                kept = sorted(category for category, _ in ranked[:max_categories])
                categorical.append(CategoricalFeature(name=name, categories=tuple(kept)))
            else:
                numeric.append(name)
        return cls(numeric=tuple(numeric), categorical=tuple(categorical))

    def to_document(self) -> dict[str, Any]:
        return {
            "numeric": list(self.numeric),
            "categorical": {feature.name: list(feature.categories) for feature in self.categorical},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ProfileSchema:
        return cls(
            numeric=tuple(document["numeric"]),
            categorical=tuple(
                CategoricalFeature(name=name, categories=tuple(categories))
                for name, categories in document["categorical"].items()
            ),
        )


def flat_columns(columns: Columns) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every feature as a vector [n]: [n, k] becomes `name[0]` .. `name[k-1]`."""
    for name, tensor in columns.items():
        if tensor.ndim == 0:
            raise InvalidInput(f"tensor {name!r} has no rows dimension", field=name)
        matrix = tensor.reshape(tensor.shape[0], -1) if tensor.size else tensor.reshape(0, 1)
        if matrix.shape[1] == 1:
            yield name, matrix[:, 0]
            continue
        for index in range(min(matrix.shape[1], MAX_TENSOR_WIDTH)):
            yield f"{name}[{index}]", matrix[:, index]


def is_text(column: NDArray[Any]) -> bool:
    return column.dtype.kind in "OSU"


def count_texts(column: NDArray[Any]) -> Counter[str]:
    """Rows by value; a missing value counts as the empty text."""
    counts: Counter[str] = Counter()
    for value, rows in Counter(column.tolist()).items():
        counts[as_text(value)] += rows
    return counts


def as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str) else ""


def column_of(columns: Mapping[str, NDArray[Any]], name: str, rows: int) -> NDArray[Any]:
    """The feature's values, or InvalidInput naming it when it is absent or of another length."""
    column = columns.get(name)
    if column is None:
        raise InvalidInput(f"feature {name!r} of the profile is missing", field=name)
    if len(column) != rows:
        raise InvalidInput(f"feature {name!r} has {len(column)} rows, not {rows}", field=name)
    return column


def numbers(column: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(column, dtype=np.float64)
