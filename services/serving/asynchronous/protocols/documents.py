"""Requests and answers as the JSON documents of the Open Inference Protocol's REST form."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Final

import numpy as np
import orjson

from headrace.errors import UndecodableEvent
from headrace.rpc.inference.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from services.serving.worker.tensors import (
    BYTES,
    DTYPES,
    Array,
    Malformed,
    decode,
    encode,
    encode_strings,
)

_BASE64: Final = "base64"


def request_of(document: bytes) -> ModelInferRequest:
    """A request from its document. Raises UndecodableEvent naming the member at fault."""
    body = _object(document)
    request = ModelInferRequest(
        model_name=_text(body, "model_name"),
        model_version=_text(body, "model_version"),
        id=_text(body, "id"),
    )
    _take_parameters(request.parameters, body.get("parameters"))
    for place, member in enumerate(_list(body, "inputs")):
        where = f"inputs[{place}]"
        tensor = _mapping(member, where)
        name, datatype, shape = _head(tensor, where)
        added = request.inputs.add(name=name, datatype=datatype, shape=shape)
        _take_parameters(added.parameters, tensor.get("parameters"))
        request.raw_input_contents.append(_raw(tensor, datatype, shape, where))
    for place, member in enumerate(body.get("outputs") or ()):
        request.outputs.add(name=_text(_mapping(member, f"outputs[{place}]"), "name"))
    return request


def chained(answer: ModelInferResponse) -> ModelInferRequest:
    """What one model answered, as the request to the next."""
    request = ModelInferRequest(id=answer.id, raw_input_contents=answer.raw_output_contents)
    for output in answer.outputs:
        tensor = request.inputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if output.HasField("contents"):
            tensor.contents.CopyFrom(output.contents)
    return request


def document_of(answer: ModelInferResponse) -> bytes:
    """The document of an answer whose outputs are raw; NaN and infinity become null."""
    return orjson.dumps(
        {
            "model_name": answer.model_name,
            "model_version": answer.model_version,
            "id": answer.id,
            "parameters": {},
            "outputs": [
                output_document(output.name, output.datatype, list(output.shape), raw)
                for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
            ],
        }
    )


def output_document(name: str, datatype: str, shape: list[int], raw: bytes) -> dict[str, Any]:
    """One tensor with flat data; bytes that are no text are base64, as its parameter says."""
    tensor: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    if datatype not in DTYPES and datatype != BYTES:
        return tensor | _encoded(raw)
    try:
        values = decode(datatype, shape, raw).ravel().tolist()
    except Malformed:
        return tensor | _encoded(raw)
    return tensor | {"data": values}


def _encoded(raw: bytes) -> dict[str, Any]:
    text = base64.b64encode(raw).decode()
    return {"parameters": {"content_type": _BASE64}, "data": [text]}


def _object(document: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(orjson.loads(document), "body")
    except orjson.JSONDecodeError as error:
        raise UndecodableEvent(f"body: not JSON ({error})") from error


def _mapping(member: object, where: str) -> Mapping[str, Any]:
    if not isinstance(member, dict):
        raise UndecodableEvent(f"{where}: expected an object")
    return member


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    member = body.get(name)
    if not isinstance(member, list):
        raise UndecodableEvent(f"{name}: expected a list")
    return member


def _text(body: Mapping[str, Any], name: str) -> str:
    member = body.get(name)
    if member is None:
        return ""
    if not isinstance(member, str):
        raise UndecodableEvent(f"{name}: expected text")
    return member


def _head(tensor: Mapping[str, Any], where: str) -> tuple[str, str, list[int]]:
    shape = _list(tensor, "shape")
    if not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise UndecodableEvent(f"{where}.shape: expected whole numbers of 0 and more")
    datatype = _text(tensor, "datatype")
    if datatype != BYTES and datatype not in DTYPES:
        raise UndecodableEvent(f"{where}.datatype: {datatype[:20]!r} cannot be told in JSON")
    return _text(tensor, "name"), datatype, shape


def _raw(tensor: Mapping[str, Any], datatype: str, shape: list[int], where: str) -> bytes:
    data = _list(tensor, "data")
    try:
        if datatype == BYTES:
            elements = list(_elements(data, encoded=_is_encoded(tensor)))
            count, raw = len(elements), encode_strings(elements)
        else:
            array = _array(data, datatype)
            count, raw = array.size, encode(datatype, array)
    except (TypeError, ValueError, OverflowError, RecursionError, binascii.Error) as error:
        raise UndecodableEvent(f"{where}.data: no tensor of {datatype} ({error})") from error
    if count != prod(shape):
        raise UndecodableEvent(f"{where}.data: {count} elements do not have shape {shape}")
    return raw


def _is_encoded(tensor: Mapping[str, Any]) -> bool:
    parameters = tensor.get("parameters")
    return isinstance(parameters, dict) and parameters.get("content_type") == _BASE64


def _elements(data: list[Any], *, encoded: bool) -> Iterator[str | bytes]:
    for member in data:
        if isinstance(member, list):
            yield from _elements(member, encoded=encoded)
        elif not isinstance(member, str):
            raise TypeError("expected text")
        else:
            yield base64.b64decode(member, validate=True) if encoded else member


def _array(data: list[Any], datatype: str) -> Array:
    """Numbers as they are meant: none is cut off or wrapped around."""
    wanted = DTYPES[datatype]
    found = np.array(data) if data else np.empty(0, wanted)
    kinds = {"b": "b", "f": "iuf"}.get(wanted.kind, "iu")
    if found.dtype.kind not in kinds:
        raise TypeError(f"found {found.dtype}")
    array = found.astype(wanted)
    if wanted.kind != "f" and not np.array_equal(array, found):
        raise OverflowError("a number is out of range")
    return array


def _take_parameters(target: Any, given: object) -> None:
    """Those that the protocol has a type for; others are for people and codecs."""
    for name, value in given.items() if isinstance(given, dict) else ():
        match value:
            case bool():
                target[name].CopyFrom(InferParameter(bool_param=value))
            case int() if -(2**63) <= value < 2**63:
                target[name].CopyFrom(InferParameter(int64_param=value))
            case float():
                target[name].CopyFrom(InferParameter(double_param=value))
            case str():
                target[name].CopyFrom(InferParameter(string_param=value))
            case _:
                continue
