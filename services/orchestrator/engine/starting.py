"""How runs begin, and how they are cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headrace.errors import Conflict, HeadraceError, NotFound
from headrace.ids import new_id
from headrace.pipelines import Plan
from headrace.runtime.bus import Tx
from services.orchestrator.domain import engine as rules
from services.orchestrator.engine.changes import emit_run, finish_run
from services.orchestrator.engine.model import RunRequest
from services.orchestrator.store import runs, tasks
from services.orchestrator.store.runs import Run


async def start_run(tx: Tx, request: RunRequest) -> bool:
    """Start a run of a registered pipeline; False if that run id exists already.

    Raises NotFound for an unknown pipeline, InvalidInput for bad parameters, Conflict if the id
    belongs to a run of another pipeline.
    """
    plan = await runs.plan_of(tx.connection, project=request.project, pipeline=request.pipeline)
    if plan is None:
        known = await runs.pipelines(tx.connection, project=request.project)
        names = ", ".join(entry["name"] for entry in known) or "none"
        message = f"no worker has registered a pipeline {request.pipeline!r}; registered: {names}"
        raise NotFound(message)
    arguments = plan.arguments(request.parameters, offered=request.offered)
    run = _run(request, plan=plan, parameters=arguments, state="pending")
    if await _add(tx, run, plan):
        return True
    existing = await runs.lock_run(tx.connection, project=run.project, run_id=run.id)
    if existing is not None and existing.pipeline != run.pipeline:
        raise Conflict(f"run {run.id} exists and is one of pipeline {existing.pipeline}")
    return False


async def start_or_fail(tx: Tx, request: RunRequest) -> Run:
    """Start a run that nobody waits for an answer about.

    Bad parameters make a failed run, an unknown pipeline one that waits for its registration.
    """
    plan = await runs.plan_of(tx.connection, project=request.project, pipeline=request.pipeline)
    try:
        arguments = (
            plan.arguments(request.parameters, offered=request.offered)
            if plan
            else {**request.offered, **request.parameters}
        )
        run = _run(request, plan=plan, parameters=arguments, state="pending")
    except HeadraceError as error:
        run = _run(request, plan=None, parameters=request.parameters, state="failed")
        run = replace(run, error=str(error))
    await _add(tx, run, run.plan)
    return run


async def plan_waiting_runs(tx: Tx, *, project: str, plan: Plan) -> list[Run]:
    """Give a newly registered plan to the runs that wait for it; those that it refuses fail."""
    refused = []
    for run in await runs.lock_unplanned(tx.connection, project=project, pipeline=plan.name):
        declared = {parameter.name for parameter in plan.parameters}
        given = {name: value for name, value in run.parameters.items() if name in declared}
        try:
            arguments = plan.arguments(given)
        except HeadraceError as error:
            refused.append(await finish_run(tx, run, state="failed", error=str(error)))
            continue
        await runs.plan_run(
            tx.connection, project=project, run_id=run.id, plan=plan, parameters=arguments
        )
        await tasks.add_tasks(
            tx.connection, project=project, run_id=run.id, steps=rules.first_states(plan)
        )
    return refused


async def cancel(tx: Tx, *, project: str, run_id: str, reason: str) -> Run | None:
    """Stop a run; None if it had ended before. Raises NotFound."""
    run = await runs.lock_run(tx.connection, project=project, run_id=run_id)
    if run is None:
        raise NotFound(f"no run {run_id}")
    if run.state not in ("pending", "running"):
        return None
    return await finish_run(tx, run, state="cancelled", error=reason)


async def _add(tx: Tx, run: Run, plan: Plan | None) -> bool:
    event_id = new_id()
    if not await runs.add_run(tx.connection, replace(run, last_event_id=event_id)):
        return False
    if plan is not None:
        await tasks.add_tasks(
            tx.connection, project=run.project, run_id=run.id, steps=rules.first_states(plan)
        )
    emit_run(tx, run, event_id=event_id)
    return True


def _run(
    request: RunRequest, *, plan: Plan | None, parameters: Mapping[str, Any], state: str
) -> Run:
    seed = rules.seed_of(request.pipeline_run_id) if request.seed is None else request.seed
    return Run(
        project=request.project,
        id=request.pipeline_run_id,
        pipeline=request.pipeline,
        plan=plan,
        plan_digest=plan.digest if plan else None,
        model=request.model,
        parameters=dict(parameters),
        trigger=dict(request.trigger),
        requested_by=request.requested_by,
        drift_epoch=request.drift_epoch,
        seed=seed,
        state=state,
        error=None,
        correlation_id=request.correlation_id,
        last_event_id=request.causation_id,
        datasets=[],
        environments=[],
        promotions=[],
        manifest_digest=None,
        manifest_uri=None,
    )
