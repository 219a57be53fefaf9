"""Reading a ModelInfer request: every check of the protocol, with Triton's words.

The messages follow a real tritonserver 2.51, since clients match on them. One rule is stricter:
more raw entries than inputs are refused, where Triton ignores them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from headrace.limits import LATEST_US, MAX_REQUEST_ID
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest
from services.serving.worker.failure import Code, Failure, invalid
from services.serving.worker.model import Model, TensorSpec
from services.serving.worker.tensors import (
    BYTES,
    DTYPES,
    Array,
    Malformed,
    WrongSize,
    decode,
    encode,
    encode_strings,
)

EVENT_TIME: Final = "event_time_us"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_LISTED: Final = 250
_CONTENTS: Final = (
    ("bool_contents", "BOOL", frozenset({"BOOL"})),
    ("int_contents", "INT32", frozenset({"INT8", "INT16", "INT32"})),
    ("int64_contents", "INT64", frozenset({"INT64"})),
    ("uint_contents", "UINT32", frozenset({"UINT8", "UINT16", "UINT32"})),
    ("uint64_contents", "UINT64", frozenset({"UINT64"})),
    ("fp32_contents", "FP32", frozenset({"FP32"})),
    ("fp64_contents", "FP64", frozenset({"FP64"})),
    ("bytes_contents", BYTES, frozenset({BYTES})),
)
_Input = ModelInferRequest.InferInputTensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The inputs of one request, in the model's order: arrays to run, raw bytes to log."""

    count: int
    feed: dict[str, Array]
    raw: list[bytes]
    shapes: list[tuple[int, ...]]


def check_id(request: ModelInferRequest) -> None:
    """Raises Failure when the readers of the prediction log would refuse the request's id."""
    if len(request.id) > MAX_REQUEST_ID:
        raise invalid(f"request id is longer than {MAX_REQUEST_ID} characters")
    if _CONTROL.search(request.id):
        raise invalid("request id has control characters")


def read_inputs(request: ModelInferRequest, model: Model, *, max_rows: int) -> Rows:
    """The rows to predict. Raises Failure with the protocol's status and message."""
    tensors = _by_place(request, model)
    _check_raw_count(request, model)
    rows = -1
    feed: dict[str, Array] = {}
    raws: list[bytes] = []
    shapes: list[tuple[int, ...]] = []
    for spec, position in zip(model.inputs, tensors, strict=True):
        tensor = request.inputs[position]
        shape = _checked_shape(tensor, spec, model, max_rows=max_rows)
        if rows not in (-1, shape[0]):
            raise invalid(f"input '{spec.name}' batch size does not match other inputs")
        rows = shape[0]
        raw = _raw(request, position, spec, model)
        feed[spec.name] = _array(spec, shape, raw, model)
        raws.append(raw)
        shapes.append(shape)
    return Rows(count=rows, feed=feed, raw=raws, shapes=shapes)


def requested_outputs(request: ModelInferRequest, model: Model) -> Sequence[int]:
    """Places of the outputs to answer with, in the order asked for; all when none is named."""
    if not request.outputs:
        return range(len(model.outputs))
    places: list[int] = []
    for output in request.outputs:
        place = model.output_places.get(output.name)
        if place is None:
            raise invalid(f"unexpected inference output '{output.name}' for model '{model.name}'")
        if place in places:
            raise invalid(f"output '{output.name}' already requested")
        for parameter in ("classification", "shared_memory_region"):
            if parameter in output.parameters:
                raise _unimplemented(f"output '{output.name}'", parameter)
        places.append(place)
    return places


def event_time(request: ModelInferRequest) -> int | None:
    """Event time of the rows in microseconds since the epoch, if the client gave one."""
    if EVENT_TIME not in request.parameters:
        return None
    parameter = request.parameters[EVENT_TIME]
    kind = parameter.WhichOneof("parameter_choice")
    value = {"int64_param": parameter.int64_param, "uint64_param": parameter.uint64_param}.get(
        kind or ""
    )
    if value is not None and not 0 <= value <= LATEST_US:
        raise invalid(
            f"parameter '{EVENT_TIME}' must be microseconds since the epoch, 0 to {LATEST_US}, "
            f"got {value}"
        )
    if value is None:
        raise invalid(
            f"parameter '{EVENT_TIME}' must be an int64 of microseconds since the epoch, "
            f"got {kind or 'nothing'}"
        )
    return value


def _by_place(request: ModelInferRequest, model: Model) -> list[int]:
    """For each input of the model, its position in the request."""
    positions: dict[str, int] = {}
    for position, tensor in enumerate(request.inputs):
        if tensor.name in positions:
            raise invalid(f"input '{tensor.name}' already exists in request")
        positions[tensor.name] = position
    wanted = model.input_places
    if len(positions) != len(wanted):
        raise invalid(_wrong_count(request, model, positions))
    for name in positions:
        if name not in wanted:
            raise invalid(f"unexpected inference input '{name}' for model '{model.name}'")
    return [positions[name] for name in wanted]


def _wrong_count(request: ModelInferRequest, model: Model, got: dict[str, int]) -> str:
    missing = [name for name in model.input_places if name not in got]
    return (
        f"[request id: {request.id or '<id_unknown>'}] expected {len(model.inputs)} inputs but "
        f"got {len(got)} inputs for model '{model.name}'. Got input(s) [{_quoted(got)}], but "
        f"missing required input(s) [{_quoted(missing)}]. Please provide all required input(s)."
    )


def _quoted(names: Iterable[str]) -> str:
    """The names for a message, cut short: gRPC carries it in a trailer of a few kB."""
    listed = ",".join(f"'{name}'" for name in names)
    return listed if len(listed) <= _MAX_LISTED else f"{listed[:_MAX_LISTED]}..."


def _check_raw_count(request: ModelInferRequest, model: Model) -> None:
    raw, inputs = len(request.raw_input_contents), len(request.inputs)
    if raw > inputs:
        raise invalid(
            f"expected {inputs} raw_input_contents entries but got {raw} for model '{model.name}'"
        )


def _checked_shape(
    tensor: _Input, spec: TensorSpec, model: Model, *, max_rows: int
) -> tuple[int, ...]:
    if tensor.datatype != spec.datatype:
        raise invalid(
            f"inference input '{spec.name}' data-type is '{tensor.datatype}', but model "
            f"'{model.name}' expects '{spec.datatype}'"
        )
    shape = tuple(tensor.shape)
    fits = len(shape) == len(spec.shape) and all(
        size == wanted if wanted >= 0 else size >= 1
        for wanted, size in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise invalid(
            f"unexpected shape for input '{spec.name}' for model '{model.name}'. "
            f"Expected {spec.text}, got [{','.join(map(str, shape))}]."
        )
    if shape[0] > max_rows:
        raise invalid(f"inference request batch-size must be <= {max_rows} for '{model.name}'")
    return shape


def _raw(request: ModelInferRequest, position: int, spec: TensorSpec, model: Model) -> bytes:
    tensor = request.inputs[position]
    if "shared_memory_region" in tensor.parameters:
        raise _unimplemented(f"input '{spec.name}'", "shared_memory_region")
    if not tensor.HasField("contents"):
        if position >= len(request.raw_input_contents):
            raise invalid(
                f"unable to find data for input tensor '{spec.name}' for model '{model.name}' "
                "in request."
            )
        return request.raw_input_contents[position]
    if request.raw_input_contents:
        raise invalid(
            "contents field must not be specified when using raw_input_contents for "
            f"'{spec.name}' for model '{model.name}'"
        )
    return _raw_of_contents(tensor, spec, model)


def _raw_of_contents(tensor: _Input, spec: TensorSpec, model: Model) -> bytes:
    for field, shown, datatypes in _CONTENTS:
        values = getattr(tensor.contents, field)
        if not values:
            continue
        if spec.datatype not in datatypes:
            raise invalid(
                f"unexpected explicit tensor data for input tensor '{spec.name}' for model "
                f"'{model.name}' of type '{shown}', expected datatype '{spec.datatype}'"
            )
        if spec.datatype == BYTES:
            return encode_strings(values)
        try:
            return encode(spec.datatype, np.array(values, dtype=DTYPES[spec.datatype]))
        except OverflowError as error:
            raise invalid(
                f"explicit tensor data for input tensor '{spec.name}' for model '{model.name}' "
                f"does not fit '{spec.datatype}': {error}"
            ) from error
    return b""


def _array(spec: TensorSpec, shape: tuple[int, ...], raw: bytes, model: Model) -> Array:
    try:
        return decode(spec.datatype, shape, raw)
    except WrongSize as error:
        raise invalid(
            f"input byte size mismatch for input '{spec.name}' for model '{model.name}'. {error}"
        ) from error
    except Malformed as error:
        raise invalid(
            f"{error} for inference input '{spec.name}' for model '{model.name}'"
        ) from error


def _unimplemented(tensor: str, parameter: str) -> Failure:
    return Failure(Code.UNIMPLEMENTED, f"{tensor}: parameter '{parameter}' is not supported")
