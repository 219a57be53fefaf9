"""Requests and answers in records: the JSON documents of the protocol, as MLServer writes them."""

from __future__ import annotations

from typing import Any

from headrace.errors import UndecodableEvent
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from services.serving.documents.elements import raw_of, raw_of_base64
from services.serving.documents.json_body import (
    Object,
    list_of,
    object_of,
    parse_object,
    sizes_of,
    text_of,
)
from services.serving.documents.outputs import BASE64, ENCODING, output_document, written
from services.serving.documents.parameters import put
from services.serving.worker.failure import Failure
from services.serving.worker.tensors import BYTES


def request_of(document: bytes) -> ModelInferRequest:
    """A request from its document. Raises UndecodableEvent naming the member at fault."""
    try:
        return _request(parse_object(document))
    except Failure as error:
        raise UndecodableEvent(error.message) from error


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
    outputs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return written(
        {
            "model_name": answer.model_name,
            "model_version": answer.model_version,
            "id": answer.id,
            "parameters": {},
            "outputs": [
                output_document(output.name, output.datatype, list(output.shape), raw)
                for output, raw in outputs
            ],
        }
    )


def _request(body: Object) -> ModelInferRequest:
    request = ModelInferRequest(
        model_name=_text(body, "model_name"),
        model_version=_text(body, "model_version"),
        id=_text(body, "id"),
    )
    put(request.parameters, _plain(body.get("parameters")), "parameter", leave=frozenset())
    for place, entry in enumerate(list_of(body.get("inputs"), "field 'inputs'")):
        _add_input(request, object_of(entry, f"field 'inputs[{place}]'"), place)
    for place, entry in enumerate(list_of(body.get("outputs") or [], "field 'outputs'")):
        output = object_of(entry, f"field 'outputs[{place}]'")
        request.outputs.add(name=text_of(output.get("name"), f"field 'outputs[{place}].name'"))
    return request


def _add_input(request: ModelInferRequest, entry: Object, place: int) -> None:
    name = text_of(entry.get("name"), f"field 'inputs[{place}].name'")
    datatype = text_of(entry.get("datatype"), f"input '{name}': field 'datatype'")
    shape = sizes_of(entry.get("shape"), f"input '{name}': field 'shape'")
    given = _plain(entry.get("parameters"))
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    put(tensor.parameters, given, f"input '{name}': parameter", leave=frozenset())
    data, field = entry.get("data"), f"input '{name}': field 'data'"
    encoded = datatype == BYTES and given.get(ENCODING) == BASE64
    request.raw_input_contents.append(
        raw_of_base64(data, shape, field) if encoded else raw_of(data, datatype, shape, field)
    )


def _text(body: Object, name: str) -> str:
    """A member that may be missing or null, as MLServer writes what it does not know."""
    value = body.get(name)
    return "" if value is None else text_of(value, f"field '{name}'")


def _plain(given: Any) -> Object:
    """Parameters that the protocol has a type for; others are for people and codecs."""
    if not isinstance(given, dict):
        return {}
    return {
        name: value for name, value in given.items() if isinstance(value, bool | int | float | str)
    }
