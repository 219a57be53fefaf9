"""POST v2/models/{model}[/versions/{version}]/infer."""

from __future__ import annotations

from dataclasses import replace

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Details
from services.serving.worker.rest.asked import Asked
from services.serving.worker.rest.http import Answer, reply_headers
from services.serving.worker.rest.infer.raw_body import read_raw
from services.serving.worker.rest.infer.reading import (
    HEADER_LENGTH,
    Wanted,
    parse_length,
    read_request,
    split_body,
)
from services.serving.worker.rest.infer.writing import write_answer


def infer(asked: Asked) -> Answer:
    """Predict. Raises Failure."""
    request, wanted = _read(asked)
    reply = asked.calls.call("ModelInfer", request.SerializeToString(), asked.details)
    answer = write_answer(oip.ModelInferResponse.FromString(reply.payload), wanted)
    if not reply.metadata:
        return answer
    return replace(answer, headers=(*answer.headers, *reply_headers(reply.metadata)))


def _read(asked: Asked) -> tuple[oip.ModelInferRequest, Wanted]:
    length = asked.request.header(HEADER_LENGTH)
    body = asked.request.body
    if length is not None and parse_length(length) == 0:
        wanted = Wanted(binary=True)
        return read_raw(body, _metadata(asked), asked.version), wanted
    head, tail = split_body(body, length)
    asked.check_json_size(len(head))
    return read_request(head, tail, model=asked.model, version=asked.version)


def _metadata(asked: Asked) -> oip.ModelMetadataResponse:
    request = oip.ModelMetadataRequest(name=asked.model, version=asked.version)
    reply = asked.calls.call("ModelMetadata", request.SerializeToString(), Details())
    return oip.ModelMetadataResponse.FromString(reply.payload)
