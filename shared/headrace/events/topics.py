"""Every topic, in one table: names, partitions, retention, and which group reads which.

Topics are never created by a broker on its own; `headrace topics apply` makes them so, and
`headrace topics check` says where a broker differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR

# The active segment is never compacted: short segments and a low ratio keep a start quick.
_COMPACTION: Final = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": str(_HOUR),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """One Kafka topic as it must be.

    `kind` decides what becomes of a record that keeps failing: entity topics keep the order of
    a key, telemetry topics dead-letter the record and go on. A topic without retention is
    compacted: it keeps the latest record of each key for good, until a tombstone removes the key.
    """

    name: str
    partitions: int
    retention_ms: int | None
    kind: Literal["entity", "telemetry", "dead_letter"] = "entity"
    max_message_bytes: int = 8 * 1024 * 1024

    @property
    def compacted(self) -> bool:
        """Whether it holds the latest state of each key instead of events."""
        return self.retention_ms is None

    @property
    def config(self) -> dict[str, str]:
        """Topic configuration as the broker spells it."""
        return {
            **(_COMPACTION if self.compacted else self._retention),
            "max.message.bytes": str(self.max_message_bytes),
        }

    @property
    def _retention(self) -> dict[str, str]:
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}


TRACKING_INTAKE: Final = Topic(
    name="tracking.run.intake.v1", partitions=3, retention_ms=_DAY, kind="telemetry"
)
TRACKING_RUNS: Final = Topic(name="tracking.run.events.v1", partitions=3, retention_ms=7 * _DAY)
REGISTRY_MODELS: Final = Topic(
    name="registry.model.events.v1", partitions=3, retention_ms=30 * _DAY
)
REGISTRY_ALIASES: Final = Topic(
    name="registry.model-version.state.v1", partitions=3, retention_ms=None
)
REGISTRY_DATASETS: Final = Topic(
    name="registry.dataset.events.v1", partitions=3, retention_ms=30 * _DAY
)
ORCHESTRATOR_COMMANDS: Final = Topic(
    name="orchestrator.run.commands.v1", partitions=3, retention_ms=14 * _DAY
)
ORCHESTRATOR_RUNS: Final = Topic(
    name="orchestrator.pipeline-run.events.v1", partitions=3, retention_ms=14 * _DAY
)
ORCHESTRATOR_POLICY: Final = Topic(
    name="orchestrator.retrain.events.v1", partitions=3, retention_ms=30 * _DAY
)
SERVING_LOG: Final = Topic(
    name="serving.inference.log.v1", partitions=6, retention_ms=2 * _DAY, kind="telemetry"
)
SERVING_INTAKE: Final = Topic(
    name="serving.inference.intake.v1", partitions=6, retention_ms=2 * _DAY, kind="telemetry"
)
SERVING_ANSWERS: Final = Topic(
    name="serving.inference.answers.v1", partitions=6, retention_ms=2 * _DAY, kind="telemetry"
)
SERVING_DEPLOYMENTS: Final = Topic(
    name="serving.deployment.events.v1", partitions=3, retention_ms=30 * _DAY
)
SERVING_STATE: Final = Topic(name="serving.deployment.state.v1", partitions=3, retention_ms=None)
SERVING_TRAFFIC: Final = Topic(
    name="serving.traffic.events.v1", partitions=3, retention_ms=30 * _DAY
)
SERVING_TRAFFIC_STATE: Final = Topic(
    name="serving.traffic.state.v1", partitions=3, retention_ms=None
)
SERVING_SHADOWS: Final = Topic(
    name="serving.shadow.log.v1", partitions=6, retention_ms=2 * _DAY, kind="telemetry"
)
SERVING_REWARDS: Final = Topic(
    name="serving.reward.intake.v1", partitions=6, retention_ms=7 * _DAY, kind="telemetry"
)
MONITORING_LABELS: Final = Topic(
    name="monitoring.label.intake.v1", partitions=6, retention_ms=7 * _DAY, kind="telemetry"
)
MONITORING_DATASETS: Final = Topic(
    name="monitoring.dataset.events.v1", partitions=3, retention_ms=30 * _DAY
)
MONITORING_ALERTS: Final = Topic(
    name="monitoring.alert.events.v1", partitions=3, retention_ms=30 * _DAY
)

TOPICS: Final[tuple[Topic, ...]] = (
    TRACKING_INTAKE,
    TRACKING_RUNS,
    REGISTRY_MODELS,
    REGISTRY_ALIASES,
    REGISTRY_DATASETS,
    ORCHESTRATOR_COMMANDS,
    ORCHESTRATOR_RUNS,
    ORCHESTRATOR_POLICY,
    SERVING_LOG,
    SERVING_INTAKE,
    SERVING_ANSWERS,
    SERVING_DEPLOYMENTS,
    SERVING_STATE,
    SERVING_TRAFFIC,
    SERVING_TRAFFIC_STATE,
    SERVING_SHADOWS,
    SERVING_REWARDS,
    MONITORING_LABELS,
    MONITORING_DATASETS,
    MONITORING_ALERTS,
)

GROUPS: Final[Mapping[str, tuple[Topic, ...]]] = {
    "tracking.intake": (TRACKING_INTAKE,),
    "tracking.events": (REGISTRY_MODELS,),
    "registry.events": (
        TRACKING_RUNS,
        MONITORING_DATASETS,
        ORCHESTRATOR_RUNS,
        SERVING_DEPLOYMENTS,
        SERVING_TRAFFIC,
    ),
    "orchestrator.events": (
        ORCHESTRATOR_COMMANDS,
        MONITORING_ALERTS,
        REGISTRY_DATASETS,
        REGISTRY_MODELS,
    ),
    "serving.events": (REGISTRY_MODELS,),
    "serving.asynchronous": (SERVING_INTAKE,),
    "serving.export-http": (SERVING_LOG,),
    "serving.export-files": (SERVING_LOG,),
    "serving.learner": (SERVING_LOG, MONITORING_LABELS),
    "serving.outcomes": (MONITORING_LABELS, SERVING_REWARDS),
    "monitoring.telemetry": (SERVING_LOG, MONITORING_LABELS),
    "monitoring.events": (SERVING_DEPLOYMENTS,),
}
"""Consumer groups, `<service>.<lane>`, and the topics that each one reads."""

VIEWS: Final[Mapping[str, tuple[Topic, ...]]] = {
    "serving": (REGISTRY_ALIASES, SERVING_TRAFFIC_STATE),
    "console": (
        REGISTRY_ALIASES,
        SERVING_STATE,
        MONITORING_ALERTS,
        ORCHESTRATOR_COMMANDS,
        ORCHESTRATOR_POLICY,
        ORCHESTRATOR_RUNS,
        REGISTRY_DATASETS,
        REGISTRY_MODELS,
        SERVING_DEPLOYMENTS,
        SERVING_LOG,
    ),
}
"""Services that read topics without a group, anew at every start, into a view in memory."""


def dead_letter_topic(group: str, topic: str) -> str:
    """Where a group puts the records of a topic that it cannot handle."""
    return f"{group}.{topic}.dlt"


def all_topics() -> tuple[Topic, ...]:
    """The declared topics and the dead-letter topics that follow from the groups."""
    dead = tuple(
        Topic(
            name=dead_letter_topic(group, topic.name),
            partitions=1,
            retention_ms=30 * _DAY,
            kind="dead_letter",
        )
        for group, topics in GROUPS.items()
        for topic in topics
    )
    return TOPICS + dead


def topic_named(name: str) -> Topic:
    """The declared topic of that name; KeyError if it is not declared."""
    return {topic.name: topic for topic in all_topics()}[name]
