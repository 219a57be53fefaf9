"""Triton's classification extension: an output as the best of its classes, as text.

Each row of scores becomes its highest `count`, each `score:index` or `score:index:label`, as BYTES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final

import numpy as np

from headrace.rpc.inference.open_inference_pb2 import InferParameter
from services.serving.worker.failure import invalid
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import BYTES, DTYPES, Array, decode, encode_strings

PARAMETER: Final = "classification"
_WITHOUT: Final = frozenset({BYTES, "BOOL", "FP16"})
_MOST: Final = 2**31 - 1


def read_count(parameters: Mapping[str, InferParameter], spec: TensorSpec) -> int:
    """How many classes of an output are asked for; 0 for the output itself. Raises Failure."""
    if PARAMETER not in parameters:
        return 0
    parameter = parameters[PARAMETER]
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise invalid(f"invalid value type for '{PARAMETER}' parameter, expected int64_param")
    if parameter.int64_param <= 0:
        raise invalid(f"invalid value for '{PARAMETER}' parameter, expected >= 0")
    if spec.datatype in _WITHOUT:
        raise invalid(
            f"class result not available for output due to unsupported type '{spec.datatype}'"
        )
    return min(parameter.int64_param, _MOST)


def shape_of(spec: TensorSpec, shape: Sequence[int], count: int) -> tuple[int, ...]:
    """Of the classes of an output of this shape; one that has no rows has one list of them."""
    if spec.shape[:1] == (-1,):
        return (shape[0], min(count, prod(shape[1:])))
    return (min(count, prod(shape)),)


def best(
    spec: TensorSpec, shape: Sequence[int], raw: bytes, count: int, labels: Sequence[str]
) -> bytes:
    """The classes of a raw output. Of equal scores the first is better, and NaN is the worst.

    `labels` are left out where there are not as many as scores in a row.
    """
    rows = shape[0] if spec.shape[:1] == (-1,) else 1
    scores = decode(spec.datatype, shape, raw).reshape(rows, -1) if raw else np.zeros((rows, 0))
    if len(labels) != scores.shape[1]:
        labels = ()
    # Without a fraction, scores of integers are printed as such.
    form = "{:.6f}" if DTYPES[spec.datatype].kind == "f" else "{}"
    return encode_strings(
        _text(form.format(row[index]), index, labels)
        for row, order in zip(scores, _order(scores)[:, :count], strict=True)
        for index in order.tolist()
    )


def _order(scores: Array) -> Array:
    """Places of each row's scores, from the highest."""
    comparable = np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    backwards = np.argsort(comparable[:, ::-1], axis=1, kind="stable")[:, ::-1]
    order: Array = scores.shape[1] - 1 - backwards
    return order


def _text(score: str, index: int, labels: Sequence[str]) -> str:
    return f"{score}:{index}:{labels[index]}" if labels else f"{score}:{index}"
