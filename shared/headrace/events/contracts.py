"""The contract registry: event type -> model, topic, key. Contracts only grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, Generic, TypeVar, cast

import orjson
from google.protobuf.message import DecodeError, Message
from pydantic import ValidationError

from headrace.errors import UndecodableEvent
from headrace.events import (
    monitoring,
    orchestrator,
    registry,
    serving,
    topics,
    tracking,
    traffic,
)
from headrace.events.base import EventData
from headrace.events.envelope import JSON, PROTOBUF
from headrace.events.topics import Topic
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged, ShadowCompared

Data = EventData | Message
DataT = TypeVar("DataT", bound=Data)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract(Generic[DataT]):
    """One event type: who says it, where it goes, what it carries.

    `key_fields` are the fields whose values, joined by `/`, are the record key. `said` is the
    event's name where its data is a message of another protocol, named otherwise.
    """

    service: str
    model: type[DataT]
    topic: Topic
    key_fields: tuple[str, ...]
    subject_field: str
    version: int = 1
    said: str | None = None

    @property
    def name(self) -> str:
        """Event name without service and version, e.g. ModelPromoted."""
        return self.said or self.model.__name__

    @property
    def type(self) -> str:
        """`ce_type`: headrace.<service>.<EventName>.v<N>."""
        return f"headrace.{self.service}.{self.name}.v{self.version}"

    @property
    def binary(self) -> bool:
        """Whether the data is protobuf instead of JSON."""
        return issubclass(self.model, Message)

    @property
    def content_type(self) -> str:
        """Media type of the data."""
        return PROTOBUF if self.binary else JSON

    def key(self, data: DataT) -> str:
        """Record key: records of one key keep their order."""
        return "/".join(str(getattr(data, name)) for name in self.key_fields)

    def subject(self, data: DataT) -> str:
        """`ce_subject`: the entity that the event is about."""
        return str(getattr(data, self.subject_field))

    def encode(self, data: DataT) -> bytes:
        """Data as record value bytes."""
        if isinstance(data, Message):
            return data.SerializeToString()
        return cast("EventData", data).model_dump_json(exclude_none=True).encode()

    def decode(self, value: bytes) -> DataT:
        """Record value bytes as data. Raises UndecodableEvent naming the field and the fault."""
        if self.binary:
            return self._decode_binary(value)
        try:
            model = cast("type[EventData]", self.model)
            return cast("DataT", model.model_validate_json(value))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}"
                for fault in error.errors(include_url=False, include_input=False)[:5]
            )
            raise UndecodableEvent(f"{self.type}: {faults}") from error

    def decoder(self) -> Callable[[bytes], DataT]:
        """`decode` as one call of the validator where data is good: for large batches."""
        if self.binary:
            return self._decode_binary
        validate = cast("type[EventData]", self.model).__pydantic_validator__.validate_json

        def decode(value: bytes) -> DataT:
            try:
                return validate(value)  # type: ignore[no-any-return]  # the validator is untyped
            except ValidationError:
                return self.decode(value)

        return decode

    def _decode_binary(self, value: bytes) -> DataT:
        message = cast("type[Message]", self.model)()
        try:
            message.ParseFromString(value)
        except DecodeError as error:
            raise UndecodableEvent(f"{self.type}: body is not the protobuf message") from error
        return cast("DataT", message)


def _contract(
    service: str,
    model: type[DataT],
    topic: Topic,
    *key_fields: str,
    subject: str | None = None,
    said: str | None = None,
) -> Contract[DataT]:
    return Contract(
        service=service,
        model=model,
        topic=topic,
        key_fields=key_fields,
        subject_field=subject or key_fields[0],
        said=said,
    )


_STATE_KEY: Final = ("project", "model", "alias")

CONTRACTS: Final[tuple[Contract[Data], ...]] = cast(
    "tuple[Contract[Data], ...]",
    (
        _contract("tracking", tracking.RunReported, topics.TRACKING_INTAKE, "run_id"),
        _contract("tracking", tracking.RunLogged, topics.TRACKING_RUNS, "run_id"),
        _contract("tracking", tracking.RunFinished, topics.TRACKING_RUNS, "run_id"),
        _contract("registry", registry.DatasetVersionCreated, topics.REGISTRY_DATASETS, "dataset"),
        _contract("registry", registry.ModelVersionCreated, topics.REGISTRY_MODELS, "model"),
        _contract("registry", registry.ModelVersionConverted, topics.REGISTRY_MODELS, "model"),
        _contract("registry", registry.PromotionRequested, topics.REGISTRY_MODELS, "model"),
        _contract("registry", registry.PromotionDecided, topics.REGISTRY_MODELS, "model"),
        _contract("registry", registry.ModelPromoted, topics.REGISTRY_MODELS, "model"),
        _contract(
            "registry",
            registry.ModelAliasState,
            topics.REGISTRY_ALIASES,
            *_STATE_KEY,
            subject="model",
        ),
        _contract(
            "orchestrator",
            orchestrator.PipelineRunRequested,
            topics.ORCHESTRATOR_COMMANDS,
            "pipeline_run_id",
        ),
        _contract(
            "orchestrator",
            orchestrator.PipelineRunChanged,
            topics.ORCHESTRATOR_RUNS,
            "pipeline_run_id",
        ),
        _contract(
            "orchestrator", orchestrator.StepChanged, topics.ORCHESTRATOR_RUNS, "pipeline_run_id"
        ),
        _contract("orchestrator", orchestrator.RetrainDecided, topics.ORCHESTRATOR_POLICY, "model"),
        _contract("serving", PredictionLogged, topics.SERVING_LOG, "model"),
        _contract(
            "serving",
            ModelInferRequest,
            topics.SERVING_INTAKE,
            "model_name",
            said="InferenceRequested",
        ),
        _contract(
            "serving",
            ModelInferResponse,
            topics.SERVING_ANSWERS,
            "model_name",
            said="InferenceAnswered",
        ),
        _contract("serving", serving.ModelDeployed, topics.SERVING_DEPLOYMENTS, "model"),
        _contract("serving", serving.ConversionFinished, topics.SERVING_DEPLOYMENTS, "model"),
        _contract("serving", serving.DeploymentFailed, topics.SERVING_DEPLOYMENTS, "model"),
        _contract("serving", serving.FirstAnswerServed, topics.SERVING_DEPLOYMENTS, "model"),
        _contract(
            "serving", serving.DeploymentState, topics.SERVING_STATE, *_STATE_KEY, subject="model"
        ),
        _contract("serving", traffic.TrafficTableChanged, topics.SERVING_TRAFFIC, "model"),
        _contract("serving", traffic.TrafficTableFailed, topics.SERVING_TRAFFIC, "model"),
        _contract("serving", traffic.RolloutChanged, topics.SERVING_TRAFFIC, "model"),
        _contract("serving", traffic.ExperimentChanged, topics.SERVING_TRAFFIC, "model"),
        _contract(
            "serving",
            traffic.TrafficState,
            topics.SERVING_TRAFFIC_STATE,
            "project",
            "model",
            subject="model",
        ),
        _contract("serving", ShadowCompared, topics.SERVING_SHADOWS, "model"),
        _contract("serving", traffic.RewardObserved, topics.SERVING_REWARDS, "model"),
        _contract("monitoring", monitoring.LabelObserved, topics.MONITORING_LABELS, "model"),
        _contract(
            "monitoring", monitoring.LabelledDataWritten, topics.MONITORING_DATASETS, "dataset"
        ),
        _contract("monitoring", monitoring.DriftDetected, topics.MONITORING_ALERTS, "model"),
        _contract("monitoring", monitoring.AlertRaised, topics.MONITORING_ALERTS, "model"),
        _contract("monitoring", monitoring.AlertResolved, topics.MONITORING_ALERTS, "model"),
        _contract("monitoring", monitoring.MonitoredDayClosed, topics.MONITORING_ALERTS, "model"),
    ),
)


@cache
def by_type() -> dict[str, Contract[Data]]:
    """Contracts by `ce_type`."""
    return {contract.type: contract for contract in CONTRACTS}


@cache
def by_model() -> dict[type[Data], Contract[Data]]:
    """Contracts by the class of their data."""
    return {contract.model: contract for contract in CONTRACTS}


@cache
def states() -> dict[str, Contract[Data]]:
    """Contracts of the state topics, by topic name: each has exactly one."""
    return {contract.topic.name: contract for contract in CONTRACTS if contract.topic.compacted}


def contract_of(data: DataT) -> Contract[DataT]:
    """The contract that this data belongs to."""
    return cast("Contract[DataT]", by_model()[cast("type[Data]", type(data))])


def decode_data(event_type: str, value: bytes) -> Data:
    """Typed data of a record. Raises UndecodableEvent for an unknown type or broken data."""
    contract = by_type().get(event_type)
    if contract is None:
        raise UndecodableEvent(f"attribute type: no contract is named {event_type!r}")
    return contract.decode(value)


def schema_of(contract: Contract[Data]) -> bytes:
    """The JSON Schema of a JSON contract, as frozen beside the models."""
    model = cast("type[EventData]", contract.model)
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(model.model_json_schema(), option=options)
