"""Changes of a run that the outside sees: state and event together.

The run's row is locked by the caller, so events of a run come in the order of commits; each is
caused by the one before. `emit_*` return the run as it is then, which the caller saves once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from headrace.errors import Conflict
from headrace.events import PipelineRunChanged, StepChanged
from headrace.events.orchestrator import RunState, StepState
from headrace.pipelines import Plan
from headrace.runtime.bus import Tx
from services.orchestrator.store import runs, tasks
from services.orchestrator.store.runs import Run
from services.orchestrator.store.tasks import Task


async def finish_run(tx: Tx, run: Run, *, state: RunState, error: str | None = None) -> Run:
    """End a run; saved. Steps that have not ended are skipped."""
    if state != "succeeded":
        for step in await tasks.skip_rest(tx.connection, project=run.project, run_id=run.id):
            run = emit_step(tx, run, step=step, state="skipped", attempt=0)
    run = emit_run(tx, replace(run, state=state, error=error))
    await runs.save(tx.connection, run)
    return run


def emit_run(tx: Tx, run: Run, *, event_id: str | None = None) -> Run:
    event = PipelineRunChanged(
        project=run.project,
        pipeline_run_id=run.id,
        pipeline=run.pipeline,
        state=_run_state(run.state),
        model=run.model,
        drift_epoch=run.drift_epoch,
        parameters=run.parameters,
        manifest_digest=run.manifest_digest,
        error=run.error,
        changed_at=datetime.now(UTC),
    )
    return _emitted(tx, run, event, event_id)


def emit_step(
    tx: Tx,
    run: Run,
    *,
    step: str,
    state: StepState,
    attempt: int,
    worker: str | None = None,
    task: Task | None = None,
    error: str | None = None,
) -> Run:
    event = StepChanged(
        project=run.project,
        pipeline_run_id=run.id,
        pipeline=run.pipeline,
        step=step,
        state=state,
        attempt=attempt,
        worker=worker or (task.worker if task else None),
        model=run.model,
        seconds=task.seconds if task else None,
        error=error,
        changed_at=datetime.now(UTC),
    )
    return _emitted(tx, run, event)


def plan_of_run(run: Run) -> Plan:
    if run.plan is None:
        raise Conflict(f"run {run.id} has no plan yet")
    return run.plan


def _emitted(
    tx: Tx, run: Run, event: PipelineRunChanged | StepChanged, event_id: str | None = None
) -> Run:
    emitted = tx.emit(
        event,
        correlation_id=run.correlation_id,
        causation_id=run.last_event_id,
        event_id=event_id,
    )
    return replace(run, last_event_id=emitted)


def _run_state(state: str) -> RunState:
    match state:
        case "pending" | "running" | "succeeded" | "failed" | "cancelled":
            return state
        case other:
            raise ValueError(f"not a state of a run: {other!r}")
