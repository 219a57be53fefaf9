"""Reading a ModelInfer request: every check of the protocol, with Triton's words.

The messages follow a real tritonserver 2.51, since clients match on them. One rule is stricter
unless asked to be lenient: more raw entries than inputs are refused, where Triton ignores them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final

import numpy as np

from headrace.limits import MAX_REQUEST_ID
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest
from services.serving.worker.classification import read_count
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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """What a request asks for, its data and id apart; all tuples are in the model's order.

    `positions` are the inputs' places in the request, `sizes` their bytes (None for BYTES, whose
    length is not known), `rows_of` their shapes without the rows, `places` those of the outputs
    to answer with, `classes` how many classes of each are asked for, if of any.
    """

    rows: int
    positions: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[int | None, ...]
    rows_of: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The inputs' raw bytes in the model's order, and the arrays of those that are BYTES."""

    raws: Sequence[bytes]
    strings: Mapping[str, Array]


_NO_STRINGS: Final[Mapping[str, Array]] = MappingProxyType({})


def check_id(request_id: str) -> None:
    """Raises Failure when the readers of the prediction log would refuse the request's id."""
    if len(request_id) > MAX_REQUEST_ID:
        raise invalid(f"request id is longer than {MAX_REQUEST_ID} characters")
    if not request_id.isprintable() and _CONTROL.search(request_id):
        raise invalid("request id has control characters")


def read_plan(request: ModelInferRequest, model: Model, *, max_rows: int) -> Plan:
    """What the request asks for. Raises Failure with the protocol's status and message."""
    places = requested_outputs(request, model)
    positions = _by_place(request, model)
    shapes = [
        _checked_shape(request.inputs[position], spec, model, max_rows=max_rows)
        for spec, position in zip(model.inputs, positions, strict=True)
    ]
    for spec, shape in zip(model.inputs, shapes, strict=True):
        if shape[0] != shapes[0][0]:
            raise invalid(f"input '{spec.name}' batch size does not match other inputs")
    return Plan(
        rows=shapes[0][0],
        positions=tuple(positions),
        shapes=tuple(shapes),
        sizes=tuple(map(_size, model.inputs, shapes)),
        rows_of=tuple(shape[1:] for shape in shapes),
        places=tuple(places),
        classes=_requested_classes(request, model, places),
    )


def _size(spec: TensorSpec, shape: tuple[int, ...]) -> int | None:
    return None if spec.datatype == BYTES else prod(shape) * DTYPES[spec.datatype].itemsize


def read_data(request: ModelInferRequest, plan: Plan, model: Model, *, lenient: bool) -> Data:
    """The data of a request. Raises Failure with the protocol's status and message.

    `lenient` ignores raw entries beyond the inputs, as Triton does.
    """
    if not lenient:
        _check_raw_count(request, model)
    raws = [
        _raw(request, position, spec, model)
        for spec, position in zip(model.inputs, plan.positions, strict=True)
    ]
    strings = {}
    for spec, shape, raw in zip(model.inputs, plan.shapes, raws, strict=True):
        array = _array(spec, shape, raw, model)
        if spec.datatype == BYTES:
            strings[spec.name] = array
    return Data(raws=raws, strings=strings or _NO_STRINGS)


def known_data(raws: Sequence[bytes], plan: Plan, model: Model) -> Data | None:
    """The same from the raw entries of a request whose plan is known; None if they do not fit."""
    if len(raws) != len(plan.positions):
        return None
    ordered = [raws[position] for position in plan.positions]
    strings = {}
    for spec, raw, size, shape in zip(model.inputs, ordered, plan.sizes, plan.shapes, strict=True):
        if size is None:
            try:
                strings[spec.name] = decode(BYTES, shape, raw)
            except Malformed:
                return None
        elif len(raw) != size:
            return None
    return Data(raws=ordered, strings=strings or _NO_STRINGS)


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
        if "shared_memory_region" in output.parameters:
            raise _unimplemented(f"output '{output.name}'", "shared_memory_region")
        places.append(place)
    return places


def _requested_classes(
    request: ModelInferRequest, model: Model, places: Sequence[int]
) -> tuple[int, ...]:
    counts = [
        read_count(output.parameters, model.outputs[place])
        for output, place in zip(request.outputs, places, strict=False)
    ]
    return tuple(counts) if any(counts) else ()


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
