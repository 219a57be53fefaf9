"""The retrain policy at work: alarms open epochs, data starts their runs, promotions close them.

The dataset's row, then the model's, are locked first, so that decisions about one model come
one by one and those about two models do not meet.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from headrace.events import (
    DatasetVersionCreated,
    DriftDetected,
    ModelPromoted,
    PromotionDecided,
    RetrainDecided,
)
from headrace.ids import new_id
from headrace.runtime.bus import Event, Tx
from services.orchestrator import engine
from services.orchestrator.domain import policy as rules
from services.orchestrator.domain.policy import Alarm, DatasetState, Decision, Epoch, Phase, Policy
from services.orchestrator.store import epochs, models
from services.orchestrator.store.epochs import StoredEpoch
from services.orchestrator.store.runs import Run


async def on_alarm(tx: Tx, event: Event[DriftDetected]) -> None:
    """Decide what a DriftDetected leads to; the same event again changes nothing."""
    drift = event.data
    dataset = await models.lock_dataset(tx.connection, project=drift.project, name=drift.dataset)
    view = await models.lock_model(tx.connection, project=drift.project, model=drift.model)
    known = {"project": drift.project, "drift_event_id": event.id}
    if await epochs.was_decided(tx.connection, **known):
        return
    alarm = Alarm(
        model=drift.model,
        version=drift.version,
        drift_epoch=drift.drift_epoch,
        detected_at=drift.detected_at,
        dataset=drift.dataset,
        labelled_through=drift.labelled_through,
    )
    decision = rules.decide(alarm, replace(view, dataset=dataset))
    run_id = new_id() if decision.outcome == "started" else None
    opened = StoredEpoch(
        project=drift.project,
        drift_event_id=event.id,
        model=drift.model,
        dataset=drift.dataset,
        detected_at=drift.detected_at,
        correlation_id=event.correlation_id,
        alarm=drift.model_dump(mode="json"),
        epoch=Epoch(
            drift_epoch=drift.drift_epoch,
            version=drift.version,
            phase=Phase.RUNNING if run_id else Phase.AWAITING_DATA,
            labelled_through=drift.labelled_through,
            pipeline_run_id=run_id,
        ),
    )
    if decision.outcome != "suppressed":
        await _open(tx, opened)
    decided_event = await _note(tx, opened, decision, run_id, causation_id=event.id)
    if run_id is not None and view.policy is not None:
        await _start(tx, opened, view.policy, decision, run_id, causation_id=decided_event)


async def on_dataset(tx: Tx, event: Event[DatasetVersionCreated]) -> None:
    """Remember the version, and start what waits for it."""
    data = event.data
    newest = await models.put_dataset(
        tx.connection,
        project=data.project,
        name=data.dataset,
        version=data.version,
        digest=data.digest,
        labelled_through=data.labelled_through,
    )
    if not newest:
        return
    state = DatasetState(version=data.version, labelled_through=data.labelled_through)
    waiting = await epochs.awaiting_models(
        tx.connection, project=data.project, dataset=data.dataset
    )
    for model in waiting:
        await _resume(tx, event, model=model, state=state)


async def on_promoted(tx: Tx, event: Event[ModelPromoted]) -> None:
    """Remember the champion; close the open epoch if this is what it was for."""
    data = event.data
    if data.alias != "champion":
        return
    await models.lock_model(tx.connection, project=data.project, model=data.model)
    await models.put_champion(
        tx.connection, project=data.project, model=data.model, version=data.version
    )
    opened = await epochs.open_epoch(tx.connection, project=data.project, model=data.model)
    if opened is None:
        return
    outcome = rules.outcome_of_promotion(opened.epoch, version=data.version, cause=data.cause)
    if outcome is not None:
        await _close(tx, opened, outcome.value, f"version {data.version} became champion")


async def on_decided(tx: Tx, event: Event[PromotionDecided]) -> None:
    """A rejected promotion of the epoch's run closes the epoch."""
    data = event.data
    if data.outcome != "rejected":
        return
    await models.lock_model(tx.connection, project=data.project, model=data.model)
    opened = await epochs.open_epoch(tx.connection, project=data.project, model=data.model)
    if opened is None or opened.epoch.pipeline_run_id is None:
        return
    asked = await epochs.promotion_requests_of(
        tx.connection, project=data.project, run_id=opened.epoch.pipeline_run_id
    )
    if data.request_id in asked or event.correlation_id == opened.correlation_id:
        reason = f"promotion of version {data.version} was rejected: {data.reason}"
        await _close(tx, opened, rules.EpochOutcome.REJECTED.value, reason)


async def on_run_finished(tx: Tx, run: Run) -> None:
    """A run that failed, or asked for no promotion, closes its epoch."""
    model = await epochs.model_of_run(tx.connection, project=run.project, run_id=run.id)
    if model is None:
        return
    await models.lock_model(tx.connection, project=run.project, model=model)
    opened = await epochs.open_epoch(tx.connection, project=run.project, model=model)
    if opened is None or opened.epoch.pipeline_run_id != run.id:
        return
    outcome = rules.outcome_of_run(run.state, [entry["outcome"] for entry in run.promotions])
    if outcome is not None:
        reason = f"run {run.id} {run.state}: {run.error or outcome.value.replace('_', ' ')}"
        await _close(tx, opened, outcome.value, reason)


async def _resume(
    tx: Tx, event: Event[DatasetVersionCreated], *, model: str, state: DatasetState
) -> None:
    view = await models.lock_model(tx.connection, project=event.data.project, model=model)
    opened = await epochs.open_epoch(tx.connection, project=event.data.project, model=model)
    if opened is None or opened.epoch.phase is not Phase.AWAITING_DATA:
        return
    if not rules.covers(state, opened.epoch.labelled_through):
        return
    if view.policy is None:
        await _close(tx, opened, rules.EpochOutcome.SUPERSEDED.value, "its policy was removed")
        return
    run_id = new_id()
    decision = rules.started(opened.dataset, state)
    await epochs.run_epoch(
        tx.connection,
        project=opened.project,
        drift_event_id=opened.drift_event_id,
        run_id=run_id,
    )
    decided_event = await _note(tx, opened, decision, run_id, causation_id=event.id)
    await _start(tx, opened, view.policy, decision, run_id, causation_id=decided_event)


async def _open(tx: Tx, opened: StoredEpoch) -> None:
    await epochs.add_epoch(
        tx.connection,
        project=opened.project,
        drift_event_id=opened.drift_event_id,
        model=opened.model,
        alarm=opened.alarm,
        detected_at=opened.detected_at,
        dataset=opened.dataset,
        correlation_id=opened.correlation_id,
        epoch=opened.epoch,
    )


async def _note(
    tx: Tx, opened: StoredEpoch, decision: Decision, run_id: str | None, *, causation_id: str
) -> str:
    await epochs.add_decision(
        tx.connection,
        project=opened.project,
        drift_event_id=opened.drift_event_id,
        model=opened.model,
        drift_epoch=opened.epoch.drift_epoch,
        outcome=decision.outcome,
        reason=decision.reason,
        pipeline_run_id=run_id,
        detected_at=opened.detected_at,
    )
    event = RetrainDecided(
        project=opened.project,
        model=opened.model,
        drift_event_id=opened.drift_event_id,
        drift_epoch=opened.epoch.drift_epoch,
        outcome=decision.outcome,
        reason=decision.reason,
        pipeline_run_id=run_id,
        decided_at=datetime.now(UTC),
    )
    return tx.emit(event, correlation_id=opened.correlation_id, causation_id=causation_id)


async def _start(
    tx: Tx,
    opened: StoredEpoch,
    policy: Policy,
    decision: Decision,
    run_id: str,
    *,
    causation_id: str,
) -> None:
    request = engine.RunRequest(
        project=opened.project,
        pipeline=policy.pipeline,
        pipeline_run_id=run_id,
        parameters=policy.parameters,
        offered={
            "model": opened.model,
            "dataset": opened.dataset,
            "dataset_version": decision.dataset_version,
            "drift_epoch": opened.epoch.drift_epoch,
            "as_of": opened.epoch.labelled_through.isoformat(),
        },
        requested_by=f"retrain-policy/{opened.model}",
        model=opened.model,
        drift_epoch=opened.epoch.drift_epoch,
        trigger={"drift_event_id": opened.drift_event_id, **opened.alarm},
        correlation_id=opened.correlation_id,
        causation_id=causation_id,
    )
    run = await engine.start_or_fail(tx, request)
    if run.state == "failed":
        await on_run_finished(tx, run)


async def _close(tx: Tx, opened: StoredEpoch, outcome: str, reason: str) -> None:
    await epochs.close_epoch(
        tx.connection,
        project=opened.project,
        drift_event_id=opened.drift_event_id,
        outcome=outcome,
        reason=reason,
    )
