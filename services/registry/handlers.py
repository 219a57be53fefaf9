"""What the registry makes of others' events: dataset versions and lineage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from headrace.events import (
    DeploymentFailed,
    LabelledDataWritten,
    ModelDeployed,
    PipelineRunChanged,
    RunFinished,
    StepChanged,
)
from headrace.events.contracts import Data
from headrace.runtime.bus import Event, Tx
from services.registry.domain.lineage import Edge, Kind, Node, NodeId, Relation, causes_in
from services.registry.store import dataset_versions, lineage, versions
from services.registry.store.dataset_versions import Arriving


async def on_labelled_data_written(event: Event[LabelledDataWritten], tx: Tx) -> None:
    """Append segments to the dataset of a model's labelled predictions; known ones are skipped."""
    data = event.data
    version = await dataset_versions.append(
        tx.connection,
        Arriving(
            project=data.project,
            dataset=data.dataset,
            origin="labelled",
            model=data.model,
            segments=data.segments,
            labelled_through=data.labelled_through,
            correlation_id=event.correlation_id,
        ),
        now=event.time,
    )
    if version is not None:
        tx.emit(version.as_event(), event_id=version.event_id)


async def on_run_finished(event: Event[RunFinished], tx: Tx) -> None:
    """Remember how a run ended: versions that were logged by it point to it."""
    data = event.data
    await _know(
        tx,
        event,
        data.project,
        NodeId(kind=Kind.RUN, id=data.run_id),
        {
            "experiment_id": data.experiment_id,
            "name": data.run_name,
            "status": data.status,
            "finished_at": data.finished_at.isoformat(),
            "metrics": data.metrics,
        },
    )


async def on_pipeline_run_changed(event: Event[PipelineRunChanged], tx: Tx) -> None:
    """Remember the state of a pipeline run, what it read and which drift started it."""
    data = event.data
    node = NodeId(kind=Kind.PIPELINE_RUN, id=data.pipeline_run_id)
    detail = {
        "pipeline": data.pipeline,
        "state": data.state,
        "model": data.model,
        "parameters": data.parameters,
        "manifest_digest": data.manifest_digest,
        "error": data.error,
        "changed_at": data.changed_at.isoformat(),
    }
    await _know(tx, event, data.project, node, _told(detail))
    causes = causes_in({**data.parameters, **_told({"drift_epoch": data.drift_epoch})})
    for relation, target in causes:
        await _link(tx, event, data.project, node, relation, target)


async def on_step_changed(event: Event[StepChanged], tx: Tx) -> None:
    """Remember the state of a step of a pipeline run."""
    data = event.data
    node = NodeId(kind=Kind.STEP, id=f"{data.pipeline_run_id}/{data.step}")
    detail = {
        "step": data.step,
        "state": data.state,
        "attempt": data.attempt,
        "worker": data.worker,
        "seconds": data.seconds,
        "error": data.error,
        "changed_at": data.changed_at.isoformat(),
    }
    await _know(tx, event, data.project, node, _told(detail))
    run = NodeId(kind=Kind.PIPELINE_RUN, id=data.pipeline_run_id)
    await _link(tx, event, data.project, node, Relation.PART_OF, run)


async def on_model_deployed(event: Event[ModelDeployed], tx: Tx) -> None:
    """Remember that serving answers with a version."""
    data = event.data
    detail = {
        "state": "deployed",
        "alias": data.alias,
        "previous_version": data.previous_version,
        "load_ms": data.load_ms,
        "swap_ms": data.swap_ms,
        "deployed_at": data.deployed_at.isoformat(),
    }
    await _deployment(tx, event, Relation.DEPLOYED, detail)


async def on_deployment_failed(event: Event[DeploymentFailed], tx: Tx) -> None:
    """Remember that serving could not take a version, and why."""
    data = event.data
    detail = {
        "state": "failed",
        "alias": data.alias,
        "kept_version": data.kept_version,
        "reason": data.reason,
        "failed_at": data.failed_at.isoformat(),
    }
    await _deployment(tx, event, Relation.FAILED_TO_DEPLOY, detail)


HANDLERS: Final[Mapping[type[Data], Callable[[Event[Any], Tx], Awaitable[None]]]] = (
    MappingProxyType(
        {
            LabelledDataWritten: on_labelled_data_written,
            RunFinished: on_run_finished,
            PipelineRunChanged: on_pipeline_run_changed,
            StepChanged: on_step_changed,
            ModelDeployed: on_model_deployed,
            DeploymentFailed: on_deployment_failed,
        }
    )
)


async def _deployment(
    tx: Tx,
    event: Event[ModelDeployed] | Event[DeploymentFailed],
    relation: Relation,
    detail: Mapping[str, Any],
) -> None:
    data = event.data
    version_id = await versions.identity_of(
        tx.connection, project=data.project, model=data.model, version=data.version
    )
    if version_id is None:
        return
    node = NodeId(kind=Kind.DEPLOYMENT, id=event.id)
    await _know(tx, event, data.project, node, _told(detail))
    target = NodeId(kind=Kind.MODEL_VERSION, id=version_id)
    await _link(tx, event, data.project, node, relation, target)


async def _know(
    tx: Tx, event: Event[Any], project: str, node: NodeId, detail: Mapping[str, Any]
) -> None:
    await lineage.put_node(
        tx.connection,
        project=project,
        node=Node(
            node=node,
            detail=detail,
            event_id=event.id,
            correlation_id=event.correlation_id,
            at=event.time,
        ),
    )


async def _link(
    tx: Tx, event: Event[Any], project: str, source: NodeId, relation: Relation, target: NodeId
) -> None:
    edge = Edge(
        source=source,
        relation=relation,
        target=target,
        event_id=event.id,
        correlation_id=event.correlation_id,
        at=event.time,
    )
    await lineage.add_edges(tx.connection, project=project, edges=[edge])


def _told(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the event says: what an earlier one said of the rest stays."""
    return {name: value for name, value in detail.items() if value is not None}
