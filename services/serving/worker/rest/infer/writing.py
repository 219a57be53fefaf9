"""From a ModelInferResponse to an HTTP answer: JSON, and behind it the tensors wanted as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import orjson

from headrace.rpc.inference.open_inference_pb2 import ModelInferResponse
from services.serving.documents.elements import data_of, is_finite
from services.serving.documents.json_body import Object
from services.serving.documents.parameters import document
from services.serving.worker.rest.http import BINARY, JSON, Answer
from services.serving.worker.rest.infer.reading import HEADER_LENGTH, Wanted


def write_answer(response: ModelInferResponse, wanted: Wanted) -> Answer:
    """The answer as it is wanted. Raises Failure for an output that JSON cannot carry."""
    tails: list[bytes] = []
    outputs: list[Object] = []
    finite = True
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        shape = list(output.shape)
        entry: Object = {"name": output.name, "datatype": output.datatype, "shape": shape}
        parameters = document(output.parameters) if output.parameters else {}
        if wanted.is_binary(output.name):
            parameters["binary_data_size"] = len(raw)
            tails.append(raw)
        else:
            data = data_of(raw, output.datatype, shape, f"output '{output.name}'")
            finite = finite and is_finite(data)
            entry["data"] = data
        if parameters:
            entry["parameters"] = parameters
        outputs.append(entry)
    return _joined(_head(response, outputs, finite=finite), tails)


def _head(response: ModelInferResponse, outputs: list[Object], *, finite: bool) -> bytes:
    head: Object = {
        "id": response.id,
        "model_name": response.model_name,
        "model_version": response.model_version,
    }
    if response.parameters:
        head["parameters"] = document(response.parameters)
    head["outputs"] = outputs
    if finite:
        return orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(head, default=np.ndarray.tolist, separators=(",", ":")).encode()


def _joined(head: bytes, tails: Sequence[bytes]) -> Answer:
    if not tails:
        return Answer(body=head, media_type=JSON)
    length = (HEADER_LENGTH, str(len(head)).encode())
    return Answer(body=b"".join([head, *tails]), media_type=BINARY, headers=(length,))
