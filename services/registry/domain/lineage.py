"""Lineage: what a model version came from and what became of it, as a graph of facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final


class Kind(StrEnum):
    """What a node stands for. Ids: UUID of the version, else the name that events use."""

    MODEL_VERSION = "model_version"
    RUN = "run"
    DATASET_VERSION = "dataset_version"
    PIPELINE_RUN = "pipeline_run"
    STEP = "step"
    DRIFT = "drift"
    DEPLOYMENT = "deployment"


class Relation(StrEnum):
    """Edges point from an effect to its cause."""

    LOGGED_BY = "logged_by"
    TRAINED_ON = "trained_on"
    PRODUCED_BY = "produced_by"
    STARTED_BY = "started_by"
    PART_OF = "part_of"
    DEPLOYED = "deployed"
    FAILED_TO_DEPLOY = "failed_to_deploy"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeId:
    """Identity of a node inside a project."""

    kind: Kind
    id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """The latest that is known of one thing, and the event that told it."""

    node: NodeId
    detail: Mapping[str, Any] = field(default_factory=dict)
    event_id: str | None = None
    correlation_id: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """`source` has `relation` to `target`, known from one event."""

    source: NodeId
    relation: Relation
    target: NodeId
    event_id: str
    correlation_id: str
    at: datetime


RUN_TAG: Final = "headrace.pipeline_run_id"
DATASET_TAG: Final = "headrace.dataset"
DATASET_VERSION_TAG: Final = "headrace.dataset_version"
DRIFT_EPOCH_TAG: Final = "headrace.drift_epoch"
DRIFT_EVENT_TAG: Final = "headrace.drift_event_id"

_PARTS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.RUN: "run",
        Kind.PIPELINE_RUN: "pipeline_run",
        Kind.DATASET_VERSION: "dataset_version",
        Kind.DRIFT: "drift",
    }
)


def dataset_node(dataset: str, version: object) -> NodeId:
    return NodeId(kind=Kind.DATASET_VERSION, id=f"{dataset}/{version}")


def causes_in(labels: Mapping[str, Any]) -> list[tuple[Relation, NodeId]]:
    """Causes that a version's tags or a pipeline run's parameters name.

    Both spellings are read: `headrace.dataset` (tags) and `dataset` (parameters).
    """

    def label(name: str) -> str:
        value = labels.get(name, labels.get(name.removeprefix("headrace."), ""))
        return "" if value is None else str(value)

    found: list[tuple[Relation, NodeId]] = []
    if label(DATASET_TAG) and label(DATASET_VERSION_TAG):
        target = dataset_node(label(DATASET_TAG), label(DATASET_VERSION_TAG))
        found.append((Relation.TRAINED_ON, target))
    if labels.get(RUN_TAG):
        target = NodeId(kind=Kind.PIPELINE_RUN, id=str(labels[RUN_TAG]))
        found.append((Relation.PRODUCED_BY, target))
    if label(DRIFT_EPOCH_TAG):
        target = NodeId(kind=Kind.DRIFT, id=label(DRIFT_EPOCH_TAG))
        found.append((Relation.STARTED_BY, target))
    return found


def describe(nodes: Iterable[Node]) -> dict[str, Any]:
    """The graph behind one version by what a person asks: run, dataset, pipeline run, drift.

    `nodes` nearest first: where several are of a kind, the one closest to the version counts. A
    part that nothing is known of is None; a node that only an edge names has no event yet.
    """
    by_kind: dict[Kind, list[Node]] = defaultdict(list)
    for node in nodes:
        by_kind[node.node.kind].append(node)
    answer: dict[str, Any] = {}
    for kind, name in _PARTS.items():
        nearest = next(iter(by_kind[kind]), None)
        answer[name] = None if nearest is None else node_document(nearest)
    steps = [node_document(node) for node in sorted(by_kind[Kind.STEP], key=_when)]
    if answer["pipeline_run"] is not None:
        answer["pipeline_run"]["steps"] = steps
    answer["deployments"] = [
        node_document(node) for node in sorted(by_kind[Kind.DEPLOYMENT], key=_when)
    ]
    return answer


def node_document(node: Node) -> dict[str, Any]:
    """A node as JSON: identity, what is known, and the event it is known from."""
    return {
        "id": node.node.id,
        **node.detail,
        "event_id": node.event_id,
        "correlation_id": node.correlation_id,
        "at": node.at.isoformat() if node.at else None,
    }


def _when(node: Node) -> tuple[bool, float]:
    return node.at is not None, node.at.timestamp() if node.at else 0.0
