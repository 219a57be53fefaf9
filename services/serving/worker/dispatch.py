"""The protocol without a transport: bytes of a request in, bytes of the answer out.

Every front-end calls this, from any thread. Nothing here logs, waits or copies rows twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from headrace import __version__
from headrace.ids import new_id
from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.failure import Code, Failure, invalid
from services.serving.worker.meters import Meters, ModelMeters
from services.serving.worker.model import PLATFORM, Model, TensorSpec
from services.serving.worker.prediction_log import Answered, PredictionLog
from services.serving.worker.requests import (
    Rows,
    check_id,
    event_time,
    read_inputs,
    requested_outputs,
)
from services.serving.worker.table import FirstAnswer, Reign, Serving
from services.serving.worker.tensors import Array, encode

INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
MessageT = TypeVar("MessageT", bound=Message)
Call = Callable[[bytes], bytes]


class Dispatcher:
    """Answers calls from the table in force."""

    def __init__(
        self,
        *,
        serving: Serving,
        log: PredictionLog,
        meters: Meters,
        first_answer: Callable[[], None],
        server_name: str,
        max_rows: int,
    ) -> None:
        """`first_answer` is called, from any thread, when a new champion has answered once."""
        self._serving = serving
        self._log = log
        self._meters = meters
        self._first_answer = first_answer
        self._server_name = server_name
        self._max_rows = max_rows
        self._series: dict[tuple[str, int], ModelMeters] = {}

    def methods(self) -> dict[str, Call]:
        """Every method by its path; a call may raise Failure."""
        return {
            f"/{INFERENCE}/ModelInfer": self.infer,
            f"/{INFERENCE}/ServerLive": self.server_live,
            f"/{INFERENCE}/ServerReady": self.server_ready,
            f"/{INFERENCE}/ModelReady": self.model_ready,
            f"/{INFERENCE}/ServerMetadata": self.server_metadata,
            f"/{INFERENCE}/ModelMetadata": self.model_metadata,
            f"/{HEALTH}/Check": self.health,
        }

    def infer(self, payload: bytes) -> bytes:
        """Predict. What a champion answers is put into the prediction log before it is sent."""
        began = time.perf_counter()
        known = ""
        try:
            request = _parse(oip.ModelInferRequest, payload)
            model, reign = self._serving.table.answering(request.model_name, request.model_version)
            known = model.name
            check_id(request)
            answer, rows = self._predict(request, model, reign)
        except Failure as failure:
            self._meters.failed(known, failure.code)
            raise
        series = self._series_of(model)
        series.requests.inc()
        series.rows.inc(rows)
        series.seconds.observe(time.perf_counter() - began)
        return answer

    def _predict(
        self, request: oip.ModelInferRequest, model: Model, reign: Reign | None
    ) -> tuple[bytes, int]:
        places = requested_outputs(request, model)
        rows = read_inputs(request, model, max_rows=self._max_rows)
        at_us = event_time(request)
        outputs = _run(model, rows)
        raws = [
            encode(spec.datatype, output)
            for spec, output in zip(model.outputs, outputs, strict=True)
        ]
        request_id = request.id or new_id()
        now_us = time.time_ns() // 1000
        happened_us = now_us if at_us is None else at_us
        self._log.add(_answered(model, request_id, happened_us, rows, raws, outputs))
        if reign is not None and reign.first is None:
            first = FirstAnswer(prediction_id=f"{request_id}/0", served_at_us=now_us)
            if reign.note_first(first):
                self._first_answer()
        return _reply(model, request_id, places, raws, outputs), rows.count

    def server_live(self, payload: bytes) -> bytes:  # noqa: ARG002
        return oip.ServerLiveResponse(live=True).SerializeToString()

    def server_ready(self, payload: bytes) -> bytes:  # noqa: ARG002
        return oip.ServerReadyResponse(ready=self._serving.ready).SerializeToString()

    def model_ready(self, payload: bytes) -> bytes:
        request = _parse(oip.ModelReadyRequest, payload)
        ready = self._serving.table.is_ready(request.name, request.version)
        return oip.ModelReadyResponse(ready=ready).SerializeToString()

    def server_metadata(self, payload: bytes) -> bytes:  # noqa: ARG002
        return oip.ServerMetadataResponse(
            name=self._server_name, version=__version__, extensions=["binary_tensor_data"]
        ).SerializeToString()

    def model_metadata(self, payload: bytes) -> bytes:
        request = _parse(oip.ModelMetadataRequest, payload)
        table = self._serving.table
        model, _ = table.answering(request.name, request.version)
        versions = sorted(table.entries[model.name].versions)
        answer = oip.ModelMetadataResponse(
            name=model.name, versions=[str(version) for version in versions], platform=PLATFORM
        )
        for specs, field in ((model.inputs, answer.inputs), (model.outputs, answer.outputs)):
            field.extend(_metadata(spec) for spec in specs)
        return answer.SerializeToString()

    def health(self, payload: bytes) -> bytes:
        """The standard health check: of the server, or of the service by its name."""
        request = _parse(health_pb2.HealthCheckRequest, payload)
        if request.service not in {"", INFERENCE}:
            raise Failure(Code.NOT_FOUND, f"unknown service '{request.service}'")
        states = health_pb2.HealthCheckResponse
        status = states.SERVING if self._serving.ready else states.NOT_SERVING
        answer: bytes = states(status=status).SerializeToString()
        return answer

    def _series_of(self, model: Model) -> ModelMeters:
        key = (model.name, model.version)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._meters.of(*key)
        return series


def _parse(kind: type[MessageT], payload: bytes) -> MessageT:
    message = kind()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise invalid(f"the request is not a {kind.DESCRIPTOR.full_name}") from error
    return message


def _run(model: Model, rows: Rows) -> list[Array]:
    try:
        return model.run(rows.feed)
    except Exception as error:
        raise Failure(
            Code.INTERNAL, f"onnx runtime failed for model '{model.name}': {error}"
        ) from error


def _answered(
    model: Model,
    request_id: str,
    event_time_us: int,
    rows: Rows,
    raws: Sequence[bytes],
    outputs: Sequence[Array],
) -> Answered:
    return Answered(
        model=model,
        request_id=request_id,
        event_time_us=event_time_us,
        rows=rows.count,
        inputs=rows.raw,
        outputs=[raws[place] for place in model.logged_outputs],
        input_shapes=rows.shapes,
        output_shapes=[outputs[place].shape for place in model.logged_outputs],
    )


def _reply(
    model: Model,
    request_id: str,
    places: Sequence[int],
    raws: Sequence[bytes],
    outputs: Sequence[Array],
) -> bytes:
    answer = oip.ModelInferResponse(
        model_name=model.name, model_version=model.version_text, id=request_id
    )
    for place in places:
        spec = model.outputs[place]
        answer.outputs.add(name=spec.name, datatype=spec.datatype, shape=outputs[place].shape)
        answer.raw_output_contents.append(raws[place])
    return answer.SerializeToString()


def _metadata(spec: TensorSpec) -> oip.ModelMetadataResponse.TensorMetadata:
    return oip.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )
