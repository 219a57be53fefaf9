"""The protocol without a transport: the calls by their paths, each from bytes to bytes.

Every front-end calls this, from any thread.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2

from headrace import __version__
from headrace.rpc.inference import model_config_pb2, model_repository_pb2
from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Accept, Call, Details, Reply, StreamCalls
from services.serving.worker.inference import Inference
from services.serving.worker.messages import parse
from services.serving.worker.methods import reflection, shared_memory
from services.serving.worker.methods.configuration import Configuration
from services.serving.worker.methods.counts import Counts, Told
from services.serving.worker.methods.health import Health
from services.serving.worker.methods.logs import LogSettings, LogSwitches
from services.serving.worker.methods.repository import (
    ControlledByEvents,
    ModelControl,
    Repository,
)
from services.serving.worker.methods.streaming import InferenceStream, as_stream
from services.serving.worker.methods.tracing import Tracing
from services.serving.worker.model import TensorSpec
from services.serving.worker.table import Serving

INFERENCE: Final = "inference.GRPCInferenceService"
MLSERVER_REPOSITORY: Final = "inference.model_repository.ModelRepositoryService"
HEALTH: Final = "grpc.health.v1.Health"
_REFLECTION: Final = tuple(
    f"{package}.ServerReflection" for package in (reflection.V1, reflection.V1_ALPHA)
)
SERVICES: Final = (INFERENCE, MLSERVER_REPOSITORY, HEALTH, *_REFLECTION)
_FILES: Final[tuple[FileDescriptor, ...]] = (
    model_config_pb2.DESCRIPTOR,
    oip.DESCRIPTOR,
    model_repository_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
)
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "statistics",
)
"""Triton's names of what goes beyond the core protocol, and is served here."""


class Dispatcher:
    """Answers calls from the table in force."""

    def __init__(
        self,
        *,
        serving: Serving,
        inference: Inference,
        statistics: Told,
        server_name: str,
        max_rows: int,
        model_control: ModelControl | None = None,
        log_switches: LogSwitches | None = None,
    ) -> None:
        """Without `model_control`, events alone say which models are loaded."""
        self._serving = serving
        self._inference = inference
        self._server_name = server_name
        self._configuration = Configuration(serving=serving, max_rows=max_rows)
        self._counts = Counts(serving=serving, statistics=statistics)
        self._repository = Repository(
            serving=serving, control=model_control or ControlledByEvents()
        )
        self._health = Health(serving=serving, services=SERVICES)
        self._tracing = Tracing(serving=serving)
        self._logs = LogSettings(switches=log_switches or LogSwitches())
        self._reflection = reflection.Reflection(services=SERVICES, files=_FILES)

    def methods(self) -> dict[str, Call]:
        """Every unary method by its path; a call may raise Failure."""
        repository = self._repository
        inference = {
            "ModelInfer": self._inference.infer,
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self._configuration.model_config,
            "ModelStatistics": self._counts.model_statistics,
            "TraceSetting": self._tracing.trace_setting,
            "LogSettings": self._logs.log_settings,
            **shared_memory.calls(),
        }
        repository_calls = {
            f"/{service}/{name}": call
            for service in (INFERENCE, MLSERVER_REPOSITORY)
            for name, call in (
                ("RepositoryIndex", repository.index),
                ("RepositoryModelLoad", repository.load),
                ("RepositoryModelUnload", repository.unload),
            )
        }
        return {
            **{f"/{INFERENCE}/{name}": call for name, call in inference.items()},
            **repository_calls,
            f"/{HEALTH}/Check": self._health.check,
        }

    def streams(self) -> StreamCalls:
        """Every method with streams by its path, and unary ones that take long.

        To load a model keeps its thread until all workers have it. On the wire such a call is a
        stream of one request and one answer.
        """
        long_calls = {
            f"/{service}/{name}": as_stream(call)
            for service in (INFERENCE, MLSERVER_REPOSITORY)
            for name, call in (
                ("RepositoryModelLoad", self._repository.load),
                ("RepositoryModelUnload", self._repository.unload),
            )
        }
        return {
            **long_calls,
            f"/{INFERENCE}/ModelStreamInfer": InferenceStream(self._inference.infer).run,
            f"/{HEALTH}/Watch": self._health.watch,
            **{f"/{service}/ServerReflectionInfo": self._reflection.run for service in _REFLECTION},
        }

    def accepting(self) -> dict[str, Accept]:
        """Those of the methods that can also take calls together and answer them later."""
        return {f"/{INFERENCE}/ModelInfer": self._inference.accept}

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
            name=self._server_name, version=__version__, extensions=EXTENSIONS
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


def _metadata(spec: TensorSpec) -> oip.ModelMetadataResponse.TensorMetadata:
    return oip.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )
