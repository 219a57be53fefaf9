"""From an HTTP body to a ModelInferRequest, and what form the answer is wanted in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest
from services.serving.documents.elements import raw_of
from services.serving.documents.json_body import (
    Object,
    flag_of,
    list_of,
    object_of,
    parse_object,
    size_of,
    sizes_of,
    text_of,
)
from services.serving.documents.parameters import put
from services.serving.worker.failure import invalid

HEADER_LENGTH: Final = b"inference-header-content-length"
_OF_REQUEST: Final = frozenset({"binary_data_output"})
_OF_INPUT: Final = frozenset({"binary_data_size"})
_OF_OUTPUT: Final = frozenset({"binary_data"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which outputs to send as binary data: those named, the others by default or not."""

    binary: bool
    named: Mapping[str, bool] = field(default_factory=dict)

    def is_binary(self, output: str) -> bool:
        """Whether this output goes out as bytes."""
        return self.named.get(output, self.binary)


def split_body(body: bytes, header_length: str | None) -> tuple[bytes, memoryview | None]:
    """The JSON of a body, and the binary tensors behind it if the client says there are any.

    Raises Failure for a length that is none or goes beyond the body.
    """
    if header_length is None:
        return body, None
    length = parse_length(header_length)
    if length > len(body):
        raise invalid(
            f"header 'Inference-Header-Content-Length' is {length}, but the body has only "
            f"{len(body)} bytes"
        )
    return body[:length], memoryview(body)[length:]


def parse_length(text: str) -> int:
    """The value of Inference-Header-Content-Length. Raises Failure."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise invalid(
            f"header 'Inference-Header-Content-Length': expected a number of bytes, got "
            f"'{text[:32]}'"
        )
    return int(text)


def read_request(
    head: bytes, tail: memoryview | None, *, model: str, version: str
) -> tuple[ModelInferRequest, Wanted]:
    """The request that JSON and binary tensors make. Raises Failure that names the field."""
    document = parse_object(head)
    request = ModelInferRequest(model_name=model, model_version=version)
    if "id" in document:
        request.id = text_of(document["id"], "field 'id'")
    binary = False
    if "parameters" in document:
        given = object_of(document["parameters"], "field 'parameters'")
        if "binary_data_output" in given:
            binary = flag_of(given["binary_data_output"], "parameter 'binary_data_output'")
        put(request.parameters, given, "parameter", leave=_OF_REQUEST)
    if "inputs" not in document:
        raise invalid("field 'inputs' is missing")
    inputs = _Inputs(request, tail)
    for place, entry in enumerate(list_of(document["inputs"], "field 'inputs'")):
        inputs.add(object_of(entry, f"field 'inputs[{place}]'"), place)
    inputs.finish()
    named = _outputs(request, document, binary=binary)
    return request, Wanted(binary=binary, named=named)


class _Inputs:
    """Adds the inputs of a request one by one, binary tensors in their order."""

    def __init__(self, request: ModelInferRequest, tail: memoryview | None) -> None:
        self._request = request
        self._tail = tail
        self._at = 0

    def add(self, entry: Object, place: int) -> None:
        name = text_of(entry.get("name"), f"field 'inputs[{place}].name'")
        datatype = text_of(entry.get("datatype"), f"input '{name}': field 'datatype'")
        shape = sizes_of(entry.get("shape"), f"input '{name}': field 'shape'")
        tensor = self._request.inputs.add(name=name, datatype=datatype, shape=shape)
        given: Object = {}
        if "parameters" in entry:
            given = object_of(entry["parameters"], f"input '{name}': field 'parameters'")
            put(tensor.parameters, given, f"input '{name}': parameter", leave=_OF_INPUT)
        if "shared_memory_region" not in given:
            self._request.raw_input_contents.append(self._raw(entry, given, tensor))

    def finish(self) -> None:
        """Raises Failure when bytes are left over."""
        left = len(self._tail) - self._at if self._tail is not None else 0
        if left:
            raise invalid(
                f"unexpected additional input data for model '{self._request.model_name}': "
                f"{left} bytes after the last input"
            )

    def _raw(
        self, entry: Object, given: Object, tensor: ModelInferRequest.InferInputTensor
    ) -> bytes:
        field = f"input '{tensor.name}'"
        if "binary_data_size" not in given:
            if "data" not in entry:
                raise invalid(
                    f"unable to find data for input tensor '{tensor.name}' for model "
                    f"'{self._request.model_name}' in request."
                )
            return raw_of(entry["data"], tensor.datatype, tensor.shape, f"{field}: field 'data'")
        if "data" in entry:
            raise invalid(f"{field}: both field 'data' and parameter 'binary_data_size' are given")
        size = size_of(given["binary_data_size"], f"{field}: parameter 'binary_data_size'")
        return self._next(size, f"{field}: parameter 'binary_data_size'")

    def _next(self, size: int, field: str) -> bytes:
        if self._tail is None:
            raise invalid(f"{field} needs the header 'Inference-Header-Content-Length'")
        start, self._at = self._at, self._at + size
        if self._at > len(self._tail):
            raise invalid(
                f"{field} is {size}, but only {len(self._tail) - start} bytes of binary data are "
                "left in the body"
            )
        return bytes(self._tail[start : self._at])


def _outputs(request: ModelInferRequest, document: Object, *, binary: bool) -> dict[str, bool]:
    named: dict[str, bool] = {}
    for place, entry in enumerate(list_of(document.get("outputs", []), "field 'outputs'")):
        output = object_of(entry, f"field 'outputs[{place}]'")
        name = text_of(output.get("name"), f"field 'outputs[{place}].name'")
        given = object_of(output.get("parameters", {}), f"output '{name}': field 'parameters'")
        named[name] = flag_of(
            given.get("binary_data", binary), f"output '{name}': parameter 'binary_data'"
        )
        made = request.outputs.add(name=name)
        put(made.parameters, given, f"output '{name}': parameter", leave=_OF_OUTPUT)
    return named
