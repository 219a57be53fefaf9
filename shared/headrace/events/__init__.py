"""Event contracts: what travels on the bus, for services, producers and readers alike."""

from headrace.events.base import EventData, FileRef
from headrace.events.contracts import (
    CONTRACTS,
    Contract,
    Data,
    by_model,
    by_type,
    contract_of,
    decode_data,
    schema_of,
)
from headrace.events.envelope import Envelope, decode_record, encode_headers
from headrace.events.monitoring import (
    AlertRaised,
    AlertResolved,
    DriftDetected,
    Evidence,
    FeatureShift,
    LabelledDataWritten,
    LabelObserved,
    MonitoredDayClosed,
    Segment,
)
from headrace.events.orchestrator import (
    PipelineRunChanged,
    PipelineRunRequested,
    RetrainDecided,
    StepChanged,
)
from headrace.events.registry import (
    DatasetVersionCreated,
    GateEvidence,
    MetricPair,
    ModelAliasState,
    ModelPromoted,
    ModelVersionCreated,
    PromotionDecided,
    PromotionRequested,
)
from headrace.events.serving import (
    DeploymentFailed,
    DeploymentState,
    FirstAnswerServed,
    ModelDeployed,
)
from headrace.events.tracking import (
    MetricColumn,
    MetricSummary,
    RunFinished,
    RunLogged,
    RunReported,
)
from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged

__all__ = [
    "CONTRACTS",
    "AlertRaised",
    "AlertResolved",
    "Contract",
    "Data",
    "DatasetVersionCreated",
    "DeploymentFailed",
    "DeploymentState",
    "DriftDetected",
    "Envelope",
    "EventData",
    "Evidence",
    "FeatureShift",
    "FileRef",
    "FirstAnswerServed",
    "GateEvidence",
    "LabelObserved",
    "LabelledDataWritten",
    "MetricColumn",
    "MetricPair",
    "MetricSummary",
    "ModelAliasState",
    "ModelDeployed",
    "ModelPromoted",
    "ModelVersionCreated",
    "MonitoredDayClosed",
    "PipelineRunChanged",
    "PipelineRunRequested",
    "PredictionLogged",
    "PromotionDecided",
    "PromotionRequested",
    "RetrainDecided",
    "RunFinished",
    "RunLogged",
    "RunReported",
    "Segment",
    "StepChanged",
    "by_model",
    "by_type",
    "contract_of",
    "decode_data",
    "decode_record",
    "encode_headers",
    "schema_of",
]
