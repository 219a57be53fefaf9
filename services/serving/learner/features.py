"""Features of logged predictions: the numbers that a plan names, a row a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from headrace.errors import Refused
from headrace.events import LabelObserved, PredictionLogged
from headrace.learning import Plan, Tensor
from headrace.rpc.serving.v1.prediction_log_pb2 import Tensor as LoggedTensor
from services.serving.worker.tensors import BYTES, DTYPES, Malformed, decode

_SHOWN: Final = 10


def inputs_of(record: PredictionLogged) -> list[Tensor]:
    """The inputs that a record shows, as the model takes them. Raises Refused if there can be none.

    Any number of rows.
    """
    return [_tensor(tensor) for tensor in record.inputs if not tensor.hashed]


def inputs_named(plan: Plan) -> list[Tensor]:
    """The inputs of a model that is learned from labels alone: a column a feature."""
    return [Tensor(name=name, datatype="FP64", shape=(-1, 1)) for name in plan.features]


def row_of(label: LabelObserved, plan: Plan) -> NDArray[np.float64]:
    """The features that a label brings along. Raises Refused where one is not there."""
    given = label.features or {}
    missing = [name for name in plan.features if name not in given]
    if missing:
        raise Refused(f"feature {missing[0]!r} is not in the label of {label.prediction_id!r}")
    row = np.array([given[name] for name in plan.features])
    if not np.isfinite(row).all():
        raise Refused("a feature is no finite number")
    return row


def rows_of(record: PredictionLogged, plan: Plan) -> NDArray[np.float64]:
    """Rows by features, in the order of the plan. Raises Refused where a feature is not there."""
    rows = len(record.prediction_ids)
    found = _columns(record.inputs, rows, set(plan.features))
    missing = [name for name in plan.features if name not in found]
    if missing:
        raise Refused(_told(record, missing[0]))
    return np.stack([found[name] for name in plan.features], axis=1)


def _columns(
    tensors: Sequence[LoggedTensor], rows: int, wanted: set[str]
) -> Mapping[str, NDArray[np.float64]]:
    columns = {}
    for tensor in tensors:
        if tensor.hashed or tensor.datatype not in DTYPES:
            continue
        names = _tensor(tensor).columns
        if not wanted.intersection(names):
            continue
        try:
            values = decode(tensor.datatype, tensor.shape, tensor.data).reshape(rows, len(names))
        except (Malformed, ValueError) as error:
            raise Refused(f"input {tensor.name!r} is not what it says: {error}") from error
        for at, name in enumerate(names):
            columns[name] = values[:, at].astype(np.float64)
    return columns


def _tensor(tensor: LoggedTensor) -> Tensor:
    try:
        return Tensor(name=tensor.name, datatype=tensor.datatype, shape=(-1, *tensor.shape[1:]))
    except ValidationError as error:
        raise Refused(f"input {tensor.name!r}: {error.errors()[0]['msg']}") from error


def _told(record: PredictionLogged, missing: str) -> str:
    known = [
        name for tensor in inputs_of(record) if tensor.datatype != BYTES for name in tensor.columns
    ]
    shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    return (
        f"feature {missing!r} is not among the logged numbers of version {record.version} of"
        f" {record.model}: {shown or 'there are none'}"
    )
