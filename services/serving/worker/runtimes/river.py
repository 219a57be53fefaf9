"""Snapshots of learners in the stream: linear and logistic regression, with numpy alone.

Answers as river's own pipeline does for each row. Inputs are those of the model that was learned
from, so that a snapshot can take its place; what it has no weight for is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Refused
from headrace.learning import Document, Tensor, decode_document
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import BYTES, DTYPES, Array

_MAX_BYTES: Final = 16 * 1024 * 1024
_PREDICT: Final = TensorSpec(name="predict", datatype="FP64", shape=(-1,))
_LABEL: Final = TensorSpec(name="predict", datatype="INT64", shape=(-1,))
_PROBABILITIES: Final = TensorSpec(name="predict_proba", datatype="FP64", shape=(-1, 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taken:
    """Columns of an input, and where they are in the matrix."""

    name: str
    width: int
    columns: Sequence[tuple[int, int]]


class RiverRuntime:
    """Scaled features by weights. Outputs of a classifier as XGBClassifier's are here."""

    platform: Final = "river"

    def __init__(self, document: Document) -> None:
        self.inputs = [_spec(tensor) for tensor in document.inputs]
        self.outputs = [_LABEL, _PROBABILITIES] if document.plan.classifies else [_PREDICT]
        self._classifies = document.plan.classifies
        places = {name: place for place, name in enumerate(document.plan.features)}
        self._taken = [
            _Taken(
                name=tensor.name,
                width=len(tensor.columns),
                columns=[
                    (at, places[name]) for at, name in enumerate(tensor.columns) if name in places
                ],
            )
            for tensor in document.inputs
            if places.keys() & set(tensor.columns)
        ]
        state = document.state
        self._weights = np.array(state.weights)
        self._intercept = state.intercept
        self._means, self._divisors = _scaling(document)

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        matrix = (self._matrix(feed) - self._means) / self._divisors
        sums = matrix @ self._weights + self._intercept
        if not self._classifies:
            return [sums]
        ones = _sigmoid(sums)
        return [(ones > 0.5).astype(np.int64), np.stack([1.0 - ones, ones], axis=1)]

    def _matrix(self, feed: Mapping[str, Array]) -> NDArray[np.float64]:
        rows = len(feed[self._taken[0].name])
        matrix = np.empty((rows, len(self._weights)))
        for taken in self._taken:
            values = feed[taken.name].reshape(rows, taken.width)
            for at, place in taken.columns:
                matrix[:, place] = values[:, at]
        return matrix


def open_runtime(path: Path) -> RiverRuntime:
    """Raises Refused: another schema, damaged, or text where a number is wanted."""
    if path.stat().st_size > _MAX_BYTES:
        raise Refused(f"{path.name} has {path.stat().st_size} bytes, at most {_MAX_BYTES}")
    document = decode_document(path.read_bytes())
    for tensor in document.inputs:
        wanted = set(tensor.columns) & set(document.plan.features)
        if tensor.datatype != BYTES and tensor.datatype not in DTYPES:
            raise Refused(f"{path.name}: input {tensor.name!r} is of type {tensor.datatype!r}")
        if wanted and tensor.datatype == BYTES:
            raise Refused(f"{path.name}: feature {min(wanted)!r} is text, not a number")
    return RiverRuntime(document)


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _scaling(document: Document) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is taken from each feature, and divides it; what never varied becomes 0."""
    scaler = document.state.scaler
    if scaler is None:
        return np.zeros(1), np.ones(1)
    variances = np.array(scaler.variances)
    return np.array(scaler.means), np.where(variances > 0, np.sqrt(variances), np.inf)


def _sigmoid(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without overflow on either side."""
    small = np.exp(-np.abs(sums))
    return np.where(sums >= 0, 1.0, small) / (1.0 + small)
