"""Claims steps, runs them, keeps their leases, reports their ends."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import Final

from headrace.errors import Conflict, NotFound, Transient
from headrace.runtime.telemetry import Log
from services.orchestrator.protocol import Assignment, Claim, Heartbeat, Held, Hello
from services.orchestrator.worker.attempt import Attempt, Stopped, Surroundings
from services.orchestrator.worker.link import Link

_CLAIM_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.3
_RELEASE_SECONDS: Final = 3.0


@dataclass(kw_only=True)
class Supervisor:
    """One worker with its slots."""

    around: Surroundings
    link: Link
    slots: int
    heartbeat_seconds: float
    log: Log
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict[int, Attempt] = field(default_factory=dict)
    _retiring: bool = False

    async def run(self) -> None:
        """Until cancelled; steps that run then are given back to the orchestrator.

        Raises Conflict if another process with the same name took this one's place.
        """
        try:
            # The first hello ends the leases of an earlier life while imports are under way.
            await self.link.hello(self._hello())
            async with asyncio.TaskGroup() as group:
                group.create_task(self.around.nursery.run())
                await self._register()
                group.create_task(self._keep_leases())
                for _ in range(self.slots):
                    group.create_task(self._slot())
        finally:
            await self._release_all()

    async def retire(self) -> None:
        """Claim nothing more; what runs goes on until `run` is cancelled."""
        self._retiring = True

    async def _register(self) -> None:
        await self.around.nursery.loaded.wait()
        hello = self._hello()
        await self.link.hello(hello)
        self.log.info("pipelines_registered", pipelines=[plan["name"] for plan in hello.plans])
        self.registered.set()

    def _hello(self) -> Hello:
        said = self.around.nursery.hello
        return Hello(
            worker=self.around.worker,
            session=self.around.session,
            plans=said.get("plans", []),
            environment=said.get("environment", {}),
        )

    async def _slot(self) -> None:
        while not self._retiring:
            # Nothing is claimed that could not be started at once.
            await self.around.nursery.ready.wait()
            assignment = await self._claim()
            if assignment is not None:
                await self._attempt(assignment)

    async def _claim(self) -> Assignment | None:
        names = [plan["name"] for plan in self.around.nursery.hello["plans"]]
        claim = Claim(
            worker=self.around.worker,
            session=self.around.session,
            pipelines=names,
            wait_seconds=_CLAIM_SECONDS,
        )
        try:
            return await self.link.claim(claim)
        except Transient as error:
            self.log.warning("claim_failed", reason=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)
        except NotFound:
            await self.link.hello(self._hello())
        return None

    async def _attempt(self, assignment: Assignment) -> None:
        log = self.log.bind(
            run=assignment.run["run_id"],
            pipeline=assignment.run["pipeline"],
            step=assignment.step,
            attempt=assignment.attempt,
            fence=assignment.fence,
        )
        # What the zygote needs to read is known only once it is ready.
        own = [*self.around.readable, *self.around.nursery.hello["readable"]]
        attempt = Attempt(assignment=assignment, around=replace(self.around, readable=own), log=log)
        self._running[assignment.fence] = attempt
        begun = asyncio.get_running_loop().time()
        try:
            completion = await attempt.run()
            await self.link.complete(completion)
            seconds = round(asyncio.get_running_loop().time() - begun, 3)
            log.info("step_ended", outcome=completion.outcome, seconds=seconds)
        except Stopped:
            log.warning("step_stopped", reason="its lease was lost")
        except (Conflict, NotFound) as error:
            log.warning("completion_refused", reason=str(error))
            await attempt.discard()
        finally:
            if not _being_cancelled():
                self._running.pop(assignment.fence, None)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_seconds)
            if not self._running:
                continue
            held = dict(self._running)
            try:
                kept = await self.link.heartbeat(self._beat(held))
            except (Transient, NotFound) as error:
                # The fence protects the results, so a step goes on while nobody can be asked.
                self.log.warning("heartbeat_failed", reason=str(error))
                continue
            for fence, attempt in held.items():
                if fence not in kept and self._running.get(fence) is attempt:
                    attempt.stop()

    def _beat(self, held: dict[int, Attempt]) -> Heartbeat:
        return Heartbeat(
            worker=self.around.worker,
            session=self.around.session,
            held=[
                Held(pipeline_run_id=attempt.run_id, step=attempt.assignment.step, fence=fence)
                for fence, attempt in held.items()
            ],
        )

    async def _release_all(self) -> None:
        attempts = list(self._running.values())
        for attempt in attempts:
            attempt.stop()
        with contextlib.suppress(TimeoutError, Conflict, NotFound):
            async with asyncio.timeout(_RELEASE_SECONDS):
                for attempt in attempts:
                    await self.link.complete(attempt.released())
        await self.link.http.aclose()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
