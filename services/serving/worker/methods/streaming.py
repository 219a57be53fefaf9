"""ModelStreamInfer: requests answered one after another on a stream that errors do not end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Call, Details, Stream, StreamCall
from services.serving.worker.failure import Failure
from services.serving.worker.messages import parse

_REAL_STATUS: Final = "triton_grpc_error"
_FINAL: Final = "triton_final_response"


class InferenceStream:
    """Answers each request with the unary call; one is in hand at a time.

    The next request is read once the answer before it is on its way, so a client that does not
    read holds up itself and nobody's memory.
    """

    def __init__(self, infer: Call) -> None:
        self._infer = infer

    def run(self, stream: Stream) -> Iterator[bytes]:
        """Answers in the order of the requests.

        Raises Failure for the first request that fails, if the client asked for a real status.
        """
        details = stream.details
        real_status = details.first(_REAL_STATUS) == "true"
        for payload in stream.requests:
            try:
                answer = self._answer(payload, details)
            except Failure as failure:
                if real_status:
                    raise
                answer = _error(payload, failure)
            yield answer.SerializeToString()

    def _answer(self, payload: bytes, details: Details) -> oip.ModelStreamInferResponse:
        answer = oip.ModelStreamInferResponse()
        answer.infer_response.ParseFromString(self._infer(payload, details).payload)
        # No model here answers a request more than once: each answer is its last.
        answer.infer_response.parameters[_FINAL].bool_param = True
        return answer


def as_stream(call: Call) -> StreamCall:
    """A unary call as one with streams."""

    def run(stream: Stream) -> Iterator[bytes]:
        for payload in stream.requests:
            yield call(payload, stream.details).payload

    return run


def _error(payload: bytes, failure: Failure) -> oip.ModelStreamInferResponse:
    answer = oip.ModelStreamInferResponse(error_message=failure.message)
    answer.infer_response.id = _id_of(payload)
    answer.infer_response.parameters[_FINAL].bool_param = True
    return answer


def _id_of(payload: bytes) -> str:
    """The id of a request; empty if it has none or is none."""
    try:
        return parse(oip.ModelInferRequest, payload).id
    except Failure:
        return ""
