"""The worker protocol's use cases: hello, claim with waiting, heartbeat, completion, sweeping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.errors import Conflict
from headrace.pipelines import Plan
from headrace.runtime.bus import Bus, Caller
from headrace.runtime.telemetry import Log
from services.orchestrator import engine, retraining
from services.orchestrator.domain.engine import Outcome
from services.orchestrator.protocol import (
    Assignment,
    Claim,
    Completion,
    Heartbeat,
    Hello,
)
from services.orchestrator.store import runs, tasks

_POLL_SECONDS: Final = 0.2
"""How soon a claim sees what another replica made ready, or what a retry's delay released."""


@dataclass(kw_only=True)
class Work:
    """Hands out steps and takes their results."""

    bus: Bus
    project: str
    lease_seconds: float
    sweep_seconds: float
    log: Log
    _waiting: set[asyncio.Event] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.bus.on_commit(self.wake)

    def wake(self) -> None:
        """Something was committed: waiting claims look again."""
        for waiter in self._waiting:
            waiter.set()

    async def hello(self, hello: Hello, caller: Caller) -> None:
        """A worker started: an earlier life's leases end, its plans are registered."""
        plans = [Plan.from_json(document) for document in hello.plans]
        async with self.bus.transaction(caller) as tx:
            held = await tasks.held_by_earlier_session(
                tx.connection, project=self.project, worker=hello.worker, session=hello.session
            )
            await runs.put_worker(
                tx.connection,
                project=self.project,
                name=hello.worker,
                session=hello.session,
                environment=hello.environment,
            )
            for plan in plans:
                await runs.put_pipeline(tx.connection, project=self.project, plan=plan)
        for run_id, step, fence in held:
            error = f"worker {hello.worker} was started again"
            await self._end(run_id, step, fence, Outcome.LOST, error, caller)
        for plan in plans:
            async with self.bus.transaction(caller) as tx:
                for run in await engine.plan_waiting_runs(tx, project=self.project, plan=plan):
                    await retraining.on_run_finished(tx, run)
        self.wake()
        self.log.info("worker_said_hello", worker=hello.worker, pipelines=[p.name for p in plans])

    async def claim(
        self, claim: Claim, caller: Caller, *, gone: Callable[[], Awaitable[bool]]
    ) -> Assignment | None:
        """A ready step, as soon as there is one; None after `wait_seconds`.

        A claimer that is `gone` is given nothing: its step would wait for the lease to end.
        Raises NotFound if the worker must say hello first, Conflict if it was replaced.
        """
        async with self.bus.transaction(caller) as tx:
            await runs.require_worker(
                tx.connection, project=self.project, name=claim.worker, session=claim.session
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + claim.wait_seconds
        waiter = asyncio.Event()
        self._waiting.add(waiter)
        try:
            while True:
                waiter.clear()
                if await gone():
                    return None
                assignment = await self._try_claim(claim, caller)
                remaining = deadline - loop.time()
                if assignment is not None or remaining <= 0:
                    return assignment
                await _wait(waiter, min(remaining, _POLL_SECONDS))
        finally:
            self._waiting.discard(waiter)

    async def heartbeat(self, beat: Heartbeat, caller: Caller) -> list[int]:
        """Renew leases; the fences that still hold. Raises NotFound if the session is not known."""
        async with self.bus.transaction(caller) as tx:
            await runs.require_worker(
                tx.connection, project=self.project, name=beat.worker, session=beat.session
            )
            return await tasks.renew(
                tx.connection,
                project=self.project,
                held=[(held.pipeline_run_id, held.step, held.fence) for held in beat.held],
                lease_seconds=self.lease_seconds,
            )

    async def complete(self, completion: Completion, caller: Caller) -> None:
        """Take the end of an attempt. Raises Conflict for a stale fence."""
        ended = engine.Ended(
            project=self.project,
            run_id=completion.pipeline_run_id,
            step=completion.step,
            fence=completion.fence,
            outcome=Outcome(completion.outcome),
            outputs=completion.outputs,
            datasets=completion.datasets,
            promotions=completion.promotions,
            manifest_digest=completion.manifest_digest,
            manifest_uri=completion.manifest_uri,
            error=completion.error,
            retryable=completion.retryable,
        )
        await self._apply(ended, caller)

    async def sweep(self) -> None:
        """End attempts past their lease or deadline, until cancelled.

        It begins one lease after the start, so that workers whose leases ran out while no
        orchestrator was up can renew them first.
        """
        await asyncio.sleep(self.lease_seconds)
        while True:
            try:
                await self._sweep_once()
            except Exception as error:
                self.log.warning("sweep_failed", error=repr(error))
            await asyncio.sleep(self.sweep_seconds)

    async def _sweep_once(self) -> None:
        async with self.bus.transaction() as tx:
            overdue = await tasks.overdue(tx.connection, project=self.project)
        for run_id, step, fence, expired in overdue:
            outcome = Outcome.LOST if expired else Outcome.TIMED_OUT
            error = "lease expired: its worker was not heard of" if expired else "timed out"
            await self._end(run_id, step, fence, outcome, error, Caller.none())

    async def _try_claim(self, claim: Claim, caller: Caller) -> Assignment | None:
        async with self.bus.transaction(caller) as tx:
            started = await engine.claim(
                tx,
                project=self.project,
                worker=claim.worker,
                session=claim.session,
                pipelines=claim.pipelines,
                lease_seconds=self.lease_seconds,
            )
        return None if started is None else self._assignment(started)

    def _assignment(self, started: engine.Started) -> Assignment:
        plan = started.plan
        step = plan.step(started.step)
        return Assignment(
            fence=started.fence,
            attempt=started.attempt,
            step=started.step,
            module=plan.module,
            attribute=plan.attribute,
            run=_facts(started),
            inputs=started.inputs,
            timeout=step.timeout,
            threads=step.threads,
            memory=step.memory,
            lease_seconds=self.lease_seconds,
            correlation_id=started.run.correlation_id,
            causation_id=started.causation_id,
            manifest_digest=started.run.manifest_digest,
        )

    async def _end(
        self, run_id: str, step: str, fence: int, outcome: Outcome, error: str, caller: Caller
    ) -> None:
        ended = engine.Ended(
            project=self.project,
            run_id=run_id,
            step=step,
            fence=fence,
            outcome=outcome,
            error=error,
        )
        try:
            await self._apply(ended, caller)
        except Conflict:
            return  # it ended by itself meanwhile
        self.log.warning(
            "attempt_ended", run=run_id, step=step, fence=fence, outcome=outcome.value, error=error
        )

    async def _apply(self, ended: engine.Ended, caller: Caller) -> None:
        async with self.bus.transaction(caller) as tx:
            finished = await engine.end_attempt(tx, ended)
            if finished is not None:
                await retraining.on_run_finished(tx, finished)


def _facts(started: engine.Started) -> dict[str, Any]:
    run = started.run
    return {
        "run_id": run.id,
        "pipeline": run.pipeline,
        "plan_digest": run.plan_digest,
        "parameters": run.parameters,
        "seed": run.seed,
        "requested_by": run.requested_by,
        "project": run.project,
        "model": run.model,
        "trigger": run.trigger,
        "correlation_id": run.correlation_id,
        "datasets": run.datasets,
        "environments": run.environments,
        "steps": [step.name for step in started.plan.steps],
    }


async def _wait(waiter: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(waiter.wait(), seconds)
    except TimeoutError:
        return
