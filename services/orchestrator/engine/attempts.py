"""How attempts of steps begin and end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from headrace.errors import Conflict, NotFound
from headrace.runtime.bus import Tx
from services.orchestrator.domain import engine as rules
from services.orchestrator.domain.engine import GivenUp, History, Outcome
from services.orchestrator.engine.changes import emit_run, emit_step, finish_run, plan_of_run
from services.orchestrator.engine.model import Ended, Started
from services.orchestrator.store import runs, tasks
from services.orchestrator.store.runs import Run
from services.orchestrator.store.tasks import Task


async def claim(
    tx: Tx,
    *,
    project: str,
    worker: str,
    session: str,
    pipelines: Sequence[str],
    lease_seconds: float,
) -> Started | None:
    """Hand out the step that has been ready longest; None if there is none.

    A session that was replaced gets nothing.
    """
    candidate = await runs.lock_candidate(tx.connection, project=project, pipelines=pipelines)
    if candidate is None:
        return None
    run, name = candidate
    plan = plan_of_run(run)
    step = plan.step(name)
    taken = await tasks.take(
        tx.connection,
        project=project,
        run_id=run.id,
        step=step.name,
        worker=worker,
        session=session,
        lease_seconds=lease_seconds,
        timeout=step.timeout,
    )
    if taken is None:
        return None
    fence, attempt = taken
    if run.state == "pending":
        run = emit_run(tx, replace(run, state="running"))
    environment = await runs.environment_of(tx.connection, project=project, worker=worker)
    run = replace(run, environments=rules.added(run.environments, [environment]))
    outputs = await _outputs(tx, run, step.upstream)
    run = emit_step(tx, run, step=step.name, state="running", attempt=attempt, worker=worker)
    await runs.save(tx.connection, run)
    return Started(
        run=run,
        plan=plan,
        step=step.name,
        fence=fence,
        attempt=attempt,
        inputs=rules.inputs_of(step, run.parameters, outputs),
        causation_id=run.last_event_id or "",
    )


async def end_attempt(tx: Tx, ended: Ended) -> Run | None:
    """Apply the end of an attempt; the run if it finished by it.

    The same report again changes nothing. Raises Conflict for a stale fence, NotFound for an
    unknown run.
    """
    run = await runs.lock_run(tx.connection, project=ended.project, run_id=ended.run_id)
    if run is None:
        raise NotFound(f"no run {ended.run_id}")
    task = await tasks.task_of(tx.connection, project=run.project, run_id=run.id, step=ended.step)
    if task is None:
        raise NotFound(f"run {run.id} has no step {ended.step!r}")
    if task.state != "running" or task.fence != ended.fence:
        await _accept_repeated(tx, ended)
        return None
    if ended.outcome is Outcome.SUCCEEDED:
        missing = rules.missing_outputs(plan_of_run(run).step(ended.step), ended.outputs)
        if not missing:
            return await _succeed(tx, run, task, ended)
        error = f"the completion lacks the outputs {', '.join(missing)}"
        ended = replace(ended, outcome=Outcome.FAILED, error=error, retryable=False)
    return await _not_succeeded(tx, run, task, ended)


async def _accept_repeated(tx: Tx, ended: Ended) -> None:
    known = await tasks.attempt_outcome(
        tx.connection,
        project=ended.project,
        run_id=ended.run_id,
        step=ended.step,
        fence=ended.fence,
    )
    if known != ended.outcome.value:
        state = f"ended as {known}" if known else "is not an attempt of this step"
        raise Conflict(
            f"stale fence: {ended.fence} of step {ended.step}, run {ended.run_id}, {state}"
        )


async def _succeed(tx: Tx, run: Run, task: Task, ended: Ended) -> Run | None:
    where = {"project": run.project, "run_id": run.id}
    await tasks.succeed(
        tx.connection, **where, step=task.step, fence=ended.fence, outputs=ended.outputs
    )
    await _note_end(tx, ended)
    run = emit_step(
        tx,
        _with_facts(run, ended),
        step=task.step,
        state="succeeded",
        attempt=task.attempt,
        task=task,
    )
    downstream = plan_of_run(run).downstream(task.step)
    if downstream:
        await tasks.release_downstream(tx.connection, **where, steps=downstream)
    elif await tasks.unfinished(tx.connection, **where) == 0:
        return await finish_run(tx, run, state="succeeded")
    await runs.save(tx.connection, run)
    return None


async def _not_succeeded(tx: Tx, run: Run, task: Task, ended: Ended) -> Run | None:
    error = ended.error or ended.outcome.value
    verdict = rules.after_attempt(
        plan_of_run(run).step(task.step).retry,
        History(failures=task.failures, losses=task.losses),
        ended.outcome,
        error=error,
        retryable=ended.retryable,
    )
    await _note_end(tx, ended)
    if isinstance(verdict, GivenUp):
        await tasks.fail(
            tx.connection,
            project=run.project,
            run_id=run.id,
            step=task.step,
            fence=ended.fence,
            history=verdict.history,
            error=verdict.reason,
        )
        run = emit_step(
            tx,
            run,
            step=task.step,
            state="failed",
            attempt=task.attempt,
            task=task,
            error=verdict.reason,
        )
        return await finish_run(
            tx, run, state="failed", error=f"step {task.step}: {verdict.reason}"
        )
    await tasks.again(
        tx.connection,
        project=run.project,
        run_id=run.id,
        step=task.step,
        fence=ended.fence,
        history=verdict.history,
        delay=verdict.delay,
        error=error,
    )
    run = emit_step(
        tx, run, step=task.step, state="ready", attempt=task.attempt, task=task, error=error
    )
    await runs.save(tx.connection, run)
    return None


async def _note_end(tx: Tx, ended: Ended) -> None:
    await tasks.end_attempt(
        tx.connection,
        project=ended.project,
        fence=ended.fence,
        outcome=ended.outcome.value,
        error=ended.error,
    )


async def _outputs(tx: Tx, run: Run, upstream: Collection[str]) -> dict[str, dict[str, Any]]:
    if not upstream:
        return {}
    return await tasks.outputs_of(
        tx.connection, project=run.project, run_id=run.id, steps=sorted(upstream)
    )


def _with_facts(run: Run, ended: Ended) -> Run:
    return replace(
        run,
        datasets=rules.added(run.datasets, [dict(entry) for entry in ended.datasets]),
        promotions=rules.added(run.promotions, [dict(entry) for entry in ended.promotions]),
        manifest_digest=ended.manifest_digest or run.manifest_digest,
        manifest_uri=ended.manifest_uri or run.manifest_uri,
    )
