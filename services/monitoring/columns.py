"""The prediction log as columns: tensors of the Open Inference Protocol to numpy and back to rows.

A micro-batch is checked whole before anything of it is used, since its producer is another
process: names, dtypes, shapes, byte lengths, ids and times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.limits import LATEST_US, MAX_PREDICTION_ID, RESERVED_COLUMNS
from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged, Tensor
from services.monitoring.event_time import BEFORE_ALL_US, IntArray

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

_DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_FLOATS: Final = frozenset({"FP16", "BF16", "FP32", "FP64"})
_MAX_NAME: Final = MAX_PREDICTION_ID
_MAX_WIDTH: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """One micro-batch: rows of one model version.

    `inputs` by name: shape (rows,) or, for wider tensors, (rows, width); BYTES are `str`.
    `scores` is the first floating point output: its only column, or the second of two (the
    probability of the positive class); None when there is no such output. Each row was logged
    with the probability `sampling_rate`.
    """

    model: str
    version: int
    prediction_ids: Sequence[str]
    event_times_us: IntArray
    inputs: Mapping[str, Array]
    scores: FloatArray | None
    sampling_rate: float = 1.0

    @property
    def rows(self) -> int:
        """Number of predictions."""
        return len(self.prediction_ids)


def decode(message: PredictionLogged) -> Predictions:
    """A micro-batch as columns. Raises InvalidInput naming the field that does not fit."""
    if not _is_name(message.model):
        raise InvalidInput("model: expected 1 to 250 characters, no NUL", field="model")
    if message.version < 1:
        raise InvalidInput(f"version: expected 1 or more, got {message.version}", field="version")
    ids = list(message.prediction_ids)
    if not ids:
        raise InvalidInput("prediction_ids: the batch has no rows", field="prediction_ids")
    if not all(map(_is_name, ids)):
        raise InvalidInput(
            "prediction_ids: expected 1 to 250 characters, no NUL", field="prediction_ids"
        )
    return Predictions(
        model=message.model,
        version=message.version,
        prediction_ids=ids,
        event_times_us=_event_times(message, len(ids)),
        inputs=_inputs(message.inputs, len(ids)),
        scores=_scores(message.outputs, len(ids)),
        sampling_rate=_sampling_rate(message),
    )


def flat(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """One column per feature: element i of a wide input becomes `name[i]`."""
    columns: dict[str, Array] = {}
    for name, values in inputs.items():
        if values.ndim == 1:
            columns[name] = values
        else:
            columns.update({f"{name}[{i}]": values[:, i] for i in range(values.shape[1])})
    return columns


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MAX_NAME and "\x00" not in text


def _sampling_rate(message: PredictionLogged) -> float:
    """Records from before there were rules have none."""
    rate = message.sampling_rate or 1.0
    if not 0 < rate <= 1:
        raise InvalidInput(
            f"sampling_rate: expected more than 0, at most 1, got {rate}", field="sampling_rate"
        )
    return rate


def _event_times(message: PredictionLogged, rows: int) -> IntArray:
    times = np.array(message.event_times_us, dtype=np.int64)
    if len(times) != rows:
        raise InvalidInput(
            f"event_times_us: expected {rows} (one a prediction id), got {len(times)}",
            field="event_times_us",
        )
    if times.min() < BEFORE_ALL_US or times.max() > LATEST_US:
        raise InvalidInput("event_times_us: beyond the years 1 to 9999", field="event_times_us")
    return times


def _inputs(tensors: Sequence[Tensor], rows: int) -> dict[str, Array]:
    columns: dict[str, Array] = {}
    for tensor in tensors:
        if not 1 <= len(tensor.name) <= _MAX_NAME:
            raise InvalidInput("inputs: a tensor name has not 1 to 250 characters", field="inputs")
        if tensor.name in RESERVED_COLUMNS or tensor.name in columns:
            raise InvalidInput(
                f"inputs.{tensor.name}: the name is reserved or used twice",
                field=f"inputs.{tensor.name}",
            )
        columns[tensor.name] = _column(tensor, rows, where="inputs")
    return columns


def _scores(tensors: Sequence[Tensor], rows: int) -> FloatArray | None:
    for tensor in tensors:
        if tensor.datatype in _FLOATS:
            values = _column(tensor, rows, where="outputs").astype(np.float64)
            if values.ndim == 1:
                return values
            return values[:, 1].copy() if values.shape[1] == 2 else None
    return None


def _column(tensor: Tensor, rows: int, *, where: str) -> Array:
    field = f"{where}.{tensor.name}"
    shape = list(tensor.shape)
    if not shape or shape[0] != rows or any(size < 1 for size in shape):
        raise InvalidInput(
            f"{field}: expected a shape that begins with {rows} rows, got {shape}", field=field
        )
    width = math.prod(shape[1:])
    if width > _MAX_WIDTH:
        raise InvalidInput(f"{field}: {width} values a row exceed {_MAX_WIDTH}", field=field)
    values = _values(tensor, rows * width, field)
    return values if width == 1 else values.reshape(rows, width)


def _values(tensor: Tensor, count: int, field: str) -> Array:
    if tensor.datatype == "BYTES":
        return _strings(tensor.data, count, field)
    if tensor.datatype == "BF16":
        _check_length(tensor, 2 * count, field)
        halves = np.frombuffer(tensor.data, dtype="<u2").astype(np.uint32)
        return (halves << 16).view(np.float32)
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        raise InvalidInput(f"{field}: unknown datatype {tensor.datatype!r}", field=field)
    _check_length(tensor, np.dtype(dtype).itemsize * count, field)
    return np.frombuffer(tensor.data, dtype=dtype)


def _check_length(tensor: Tensor, expected: int, field: str) -> None:
    if len(tensor.data) != expected:
        raise InvalidInput(
            f"{field}: expected {expected} bytes for {tensor.datatype} of shape "
            f"{list(tensor.shape)}, got {len(tensor.data)}",
            field=field,
        )


def _strings(data: bytes, count: int, field: str) -> Array:
    """BYTES elements, each preceded by its length as uint32, as text; broken UTF-8 is replaced."""
    same = _strings_of_one_length(data, count)
    if same is not None:
        return same
    texts: list[str] = []
    at = 0
    while at + 4 <= len(data) and len(texts) < count:
        begin = at + 4
        at = begin + int.from_bytes(data[at:begin], "little")
        texts.append(data[begin:at].decode("utf-8", "replace"))
    if at != len(data) or len(texts) != count:
        raise InvalidInput(
            f"{field}: {len(data)} bytes do not hold {count} BYTES elements", field=field
        )
    return np.array(texts, dtype=np.str_)


def _strings_of_one_length(data: bytes, count: int) -> Array | None:
    """The usual case (codes of a fixed width, in ASCII) without a loop; None if it is not that."""
    size = int.from_bytes(data[:4], "little")
    if size == 0 or (4 + size) * count != len(data):
        return None
    grid = np.frombuffer(data, dtype=np.uint8).reshape(count, 4 + size)
    if (grid[:, :4].copy().view("<u4") != size).any():
        return None
    body = grid[:, 4:]
    if (body >= 0x80).any() or (body == 0).any():
        return None
    return body.astype(np.uint32).view(f"<U{size}")[:, 0]
