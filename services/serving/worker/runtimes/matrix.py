"""The rows of a request as the one matrix or table that tree boosters and scikit-learn take.

Without a signature there is one input, `input-0`, of all features; outputs are called as MLServer
calls them, `predict` and `predict_proba`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from headrace.errors import Refused
from services.serving.worker.runtimes.mlmodel import Signature
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import BYTES, DTYPES, Array

_INPUT: Final = "input-0"


class Layout(Protocol):
    """How the inputs make up the features."""

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...

    def matrix(self, feed: Mapping[str, Array]) -> Array:
        """Rows by features."""
        ...


class OneTensor:
    """The matrix is the input."""

    def __init__(self, spec: TensorSpec) -> None:
        self.inputs = [spec]
        self._name = spec.name

    def matrix(self, feed: Mapping[str, Array]) -> Array:
        """See Layout."""
        return feed[self._name]


class Columns:
    """Each input is a column; `order` is theirs in the matrix, whose elements are `dtype`."""

    def __init__(self, specs: Sequence[TensorSpec], *, order: Sequence[str], dtype: str) -> None:
        self.inputs = list(specs)
        self._order = list(order)
        self._dtype = DTYPES[dtype]

    def matrix(self, feed: Mapping[str, Array]) -> Array:
        """See Layout."""
        matrix = np.empty((len(feed[self._order[0]]), len(self._order)), dtype=self._dtype)
        for place, name in enumerate(self._order):
            matrix[:, place] = feed[name][:, 0]
        return matrix


def numeric_layout(
    signature: Signature | None, *, features: int, names: Sequence[str], datatype: str
) -> Layout:
    """The inputs of a model over `features` numbers a row.

    `names` are those it was trained on, in their order, or none; `datatype` is what it computes
    with. Raises Refused when the signature says something else.
    """
    if signature is None:
        return OneTensor(TensorSpec(name=_INPUT, datatype=datatype, shape=(-1, features)))
    for spec in signature.inputs:
        if spec.datatype == BYTES:
            raise Refused(f"input {spec.name!r} of the signature is text, the model takes numbers")
    if not signature.columns:
        return OneTensor(_one_matrix(signature, features))
    columns = [spec.name for spec in signature.inputs]
    if len(columns) != features:
        raise Refused(
            f"the signature has {len(columns)} columns, the model was trained on {features}"
        )
    order = list(names) if set(names) == set(columns) else columns
    return Columns(signature.inputs, order=order, dtype=datatype)


def _one_matrix(signature: Signature, features: int) -> TensorSpec:
    spec = signature.inputs[0]
    if len(signature.inputs) != 1 or len(spec.shape) != 2 or spec.shape[1] not in (-1, features):
        shown = ", ".join(f"{each.name}{each.text}" for each in signature.inputs)
        raise Refused(f"the signature has {shown}, the model takes one tensor [-1,{features}]")
    return TensorSpec(name=spec.name, datatype=spec.datatype, shape=(spec.shape[0], features))


def output_names(signature: Signature | None, functions: Sequence[str]) -> list[str]:
    """Names of what these functions give; the first is the one that the signature describes."""
    if signature is None or not signature.outputs:
        return list(functions)
    if len(signature.outputs) > 1:
        raise Refused(
            f"the signature has {len(signature.outputs)} outputs, the model gives one array"
        )
    named = signature.outputs[0]
    return [named, *(f"{name}_" if name == named else name for name in functions[1:])]
