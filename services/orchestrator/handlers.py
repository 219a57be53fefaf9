"""What the orchestrator does about events."""

from __future__ import annotations

from headrace.events import (
    DatasetVersionCreated,
    DriftDetected,
    ModelPromoted,
    PipelineRunRequested,
    PromotionDecided,
)
from headrace.runtime.bus import Event, Subscription, Tx
from services.orchestrator import engine, retraining


async def on_pipeline_run_requested(event: Event[PipelineRunRequested], tx: Tx) -> None:
    """Somebody asks for a run on the bus."""
    data = event.data
    request = engine.RunRequest(
        project=data.project,
        pipeline=data.pipeline,
        pipeline_run_id=data.pipeline_run_id,
        parameters=data.parameters,
        requested_by=data.requested_by,
        model=data.model,
        correlation_id=event.correlation_id,
        causation_id=event.id,
    )
    await engine.start_or_fail(tx, request)


async def on_drift_detected(event: Event[DriftDetected], tx: Tx) -> None:
    """The retrain policy of the model decides."""
    await retraining.on_alarm(tx, event)


async def on_dataset_version_created(event: Event[DatasetVersionCreated], tx: Tx) -> None:
    """An epoch may have waited for it."""
    await retraining.on_dataset(tx, event)


async def on_model_promoted(event: Event[ModelPromoted], tx: Tx) -> None:
    """An epoch may be over."""
    await retraining.on_promoted(tx, event)


async def on_promotion_decided(event: Event[PromotionDecided], tx: Tx) -> None:
    """Likewise, when the answer is no."""
    await retraining.on_decided(tx, event)


SUBSCRIPTION = Subscription(
    group="orchestrator.events",
    handlers={
        PipelineRunRequested: on_pipeline_run_requested,
        DriftDetected: on_drift_detected,
        DatasetVersionCreated: on_dataset_version_created,
        ModelPromoted: on_model_promoted,
        PromotionDecided: on_promotion_decided,
    },
)
