"""The protocol without a transport: the calls by their paths, each from bytes to bytes.

Every front-end calls this, from any thread.
"""

from __future__ import annotations

from typing import Final

from grpc_health.v1 import health_pb2

from headrace import __version__
from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Call, Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.inference import Inference
from services.serving.worker.messages import parse
from services.serving.worker.model import TensorSpec
from services.serving.worker.table import Serving

INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"


class Dispatcher:
    """Answers calls from the table in force."""

    def __init__(self, *, serving: Serving, inference: Inference, server_name: str) -> None:
        self._serving = serving
        self._inference = inference
        self._server_name = server_name

    def methods(self) -> dict[str, Call]:
        """Every method by its path; a call may raise Failure."""
        return {
            f"/{INFERENCE}/ModelInfer": self._inference.infer,
            f"/{INFERENCE}/ServerLive": self.server_live,
            f"/{INFERENCE}/ServerReady": self.server_ready,
            f"/{INFERENCE}/ModelReady": self.model_ready,
            f"/{INFERENCE}/ServerMetadata": self.server_metadata,
            f"/{INFERENCE}/ModelMetadata": self.model_metadata,
            f"/{HEALTH}/Check": self.health,
        }

    def server_live(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        return Reply(payload=oip.ServerLiveResponse(live=True).SerializeToString())

    def server_ready(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        answer = oip.ServerReadyResponse(ready=self._serving.ready)
        return Reply(payload=answer.SerializeToString())

    def model_ready(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        request = parse(oip.ModelReadyRequest, payload)
        ready = self._serving.table.is_ready(request.name, request.version)
        return Reply(payload=oip.ModelReadyResponse(ready=ready).SerializeToString())

    def server_metadata(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        answer = oip.ServerMetadataResponse(
            name=self._server_name, version=__version__, extensions=["binary_tensor_data"]
        )
        return Reply(payload=answer.SerializeToString())

    def model_metadata(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        request = parse(oip.ModelMetadataRequest, payload)
        table = self._serving.table
        model, _ = table.answering(request.name, request.version)
        versions = sorted(table.entries[model.name].versions)
        answer = oip.ModelMetadataResponse(
            name=model.name,
            versions=[str(version) for version in versions],
            platform=model.platform,
        )
        for specs, field in ((model.inputs, answer.inputs), (model.outputs, answer.outputs)):
            field.extend(_metadata(spec) for spec in specs)
        return Reply(payload=answer.SerializeToString())

    def health(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        """The standard health check: of the server, or of the service by its name."""
        request = parse(health_pb2.HealthCheckRequest, payload)
        if request.service not in {"", INFERENCE}:
            raise Failure(Code.NOT_FOUND, f"unknown service '{request.service}'")
        states = health_pb2.HealthCheckResponse
        status = states.SERVING if self._serving.ready else states.NOT_SERVING
        return Reply(payload=states(status=status).SerializeToString())


def _metadata(spec: TensorSpec) -> oip.ModelMetadataResponse.TensorMetadata:
    return oip.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )
