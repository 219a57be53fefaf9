"""Finds what there is to do and has it done: models beside each other, each in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import asyncpg

from headrace.errors import Permanent
from headrace.runtime.telemetry import Log
from services.serving import store
from services.serving.control.promoted import PromotedModels
from services.serving.control.rollout import Rollout
from services.serving.control.traffic.director import TrafficDirector
from services.serving.domain import Champion, Deployment, State
from services.serving.link.messages import FirstAnswered, ModelStatus

_EAGER_SECONDS: Final = 2.0
_EAGER_PAUSE: Final = 0.01
_IDLE_PAUSE: Final = 1.0
_RETRY_SECONDS: Final = 0.5
_TIDY_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 5.0
"""How long known champions wait for the state topic: Kafka may be away."""
_T = TypeVar("_T")


class Reconciler:
    """Restores the champions, then carries out deployments until cancelled.

    Champions that our schema knows come from there; those that it does not know, since it was
    lost or is new, come from `promoted`, which is complete when `promoted_read` is set.
    """

    def __init__(
        self,
        *,
        project: str,
        pool: asyncpg.Pool,
        rollout: Rollout,
        traffic: TrafficDirector,
        promoted: PromotedModels,
        promoted_read: asyncio.Event,
        log: Log,
    ) -> None:
        self._project = project
        self._pool = pool
        self._rollout = rollout
        self._traffic = traffic
        self._promoted = promoted
        self._promoted_read = promoted_read
        self._log = log
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._noting: set[asyncio.Task[None]] = set()
        self._taken_over = False
        self._answered: set[int] = set()
        self._poked = asyncio.Event()
        self.lost: dict[str, str] = {}
        """Models whose champion could not be restored, and why."""
        self.restored = False

    def poke(self) -> None:
        """There may be work as soon as a transaction that is still open commits."""
        self._poked.set()

    def aliases_moved(self) -> None:
        """An alias points elsewhere: the workers resolve it."""
        if self.restored:
            self._rollout.announce()

    def first_answer(self, status: ModelStatus) -> None:
        """A worker says that a champion has answered once."""
        number, first = status.deployment, status.first_answer
        if number is None or first is None or number in self._answered:
            return
        self._answered.add(number)
        task = asyncio.create_task(self._note_first_answer(number, first))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def restore(self) -> None:
        """Bring back every model as it was; a store that is away is waited for.

        A schema without champions may be a lost one: then the state topic is waited for too, so
        that workers that still answer are not told that there is nothing to answer with.
        """
        champions = await self.persist(self._champions)
        await asyncio.gather(*(self._restore_one(champion) for champion in champions))
        if await self._wait_for_promoted(_PATIENCE_SECONDS if champions else None):
            unrestored = await self.persist(self._note_promoted)
            await asyncio.gather(*(self._take_over_one(deployment) for deployment in unrestored))
            await self.persist(self._traffic.recall)
        await self.persist(self._traffic.restore)
        self._rollout.announce()
        self.restored = True

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        eager_until = 0.0
        try:
            while True:
                if self._poked.is_set():
                    self._poked.clear()
                    eager_until = loop.time() + _EAGER_SECONDS
                if not self._taken_over and self._promoted_read.is_set():
                    await self.persist(self._note_promoted)
                await self._start_work()
                pause = _EAGER_PAUSE if loop.time() < eager_until else _IDLE_PAUSE
                await self._wait(pause)
        finally:
            for task in (*self._busy.values(), *self._noting):
                task.cancel()

    async def tidy(self) -> None:
        """Keep the disk small until cancelled; from when it is known what is in use."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            if self.restored:
                await self._rollout.keep_cache_small()

    async def _wait(self, seconds: float) -> None:
        """Pause; a poke ends a long one, since the order that it tells of may have committed."""
        if seconds == _EAGER_PAUSE:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poked.wait()

    async def _start_work(self) -> None:
        async def waiting() -> list[str]:
            async with self._pool.acquire() as connection:
                deploying = await store.models_with_work(connection, project=self._project)
            return [*deploying, *await self._traffic.models_waiting()]

        for model in await self.persist(waiting):
            if model not in self._busy and model not in self._rollout.unloaded:
                task = asyncio.create_task(self._settle(model), name=f"deploy-{model}")
                self._busy[model] = task
                task.add_done_callback(partial(self._done, model))

    def _done(self, model: str, task: asyncio.Task[None]) -> None:
        if self._busy.get(model) is task:
            del self._busy[model]

    async def _settle(self, model: str) -> None:
        """Do all there is for one model; what cannot work is given up, the rest tried again."""
        while True:
            try:
                deployment = await self._next(model)
                if deployment is not None:
                    await self._carry_out(deployment)
                elif not await self._traffic.carry_out_next(model):
                    return
            except Exception as error:
                self._log.warning("deployment_interrupted", model=model, reason=repr(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _carry_out(self, deployment: Deployment) -> None:
        work = self._rollout.deploy if deployment.order.kind == "deploy" else self._rollout.warm
        try:
            await work(deployment)
        except Permanent as error:
            await self._rollout.give_up(deployment, str(error))

    async def at_rest(self, model: str) -> None:
        """Wait until nothing is being done for a model that was marked as unloaded."""
        working = self._busy.get(model)
        if working is not None:
            await asyncio.wait({working})

    async def _next(self, model: str) -> Deployment | None:
        if model in self._rollout.unloaded:
            return None
        async with self._pool.acquire() as connection:
            await store.drop_overtaken_promotions(connection, project=self._project, model=model)
            return await store.next_work(connection, project=self._project, model=model)

    async def _champions(self) -> list[tuple[Champion, Deployment | None]]:
        async with self._pool.acquire() as connection:
            return [
                (
                    champion,
                    await store.candidate_of(
                        connection, project=self._project, model=champion.deployment.model
                    ),
                )
                for champion in await store.champions(connection, project=self._project)
            ]

    async def _restore_one(self, known: tuple[Champion, Deployment | None]) -> None:
        model = known[0].deployment.model
        try:
            await self.persist(lambda: self._rollout.restore(*known))
        except Permanent as error:
            self.lost[model] = str(error)
            self._log.error("champion_not_restored", model=model, reason=str(error))
            return
        if known[0].deployment.state is State.DONE:
            await self.persist(lambda: self._rollout.tell_state(known[0].deployment))

    async def _wait_for_promoted(self, seconds: float | None) -> bool:
        """Whether it is known by then what is promoted; None waits for ever."""
        try:
            await asyncio.wait_for(self._promoted_read.wait(), seconds)
        except TimeoutError:
            self._log.warning("promoted_models_unknown", waited_seconds=seconds)
            return False
        return True

    async def _note_promoted(self) -> list[Deployment]:
        """Note promotions that are news to our schema; returns those of models without champion."""
        unrestored = []
        for order in self._promoted.orders:
            async with self._pool.acquire() as connection, connection.transaction():
                if await store.is_newer(connection, order):
                    await store.take_order(connection, order)
                    self._log.info("promotion_noted", model=order.model, version=order.version)
                waiting = await store.unrestored(connection, cause_event=order.cause_event)
            if waiting is not None:
                unrestored.append(waiting)
        self._taken_over = True
        return unrestored

    async def _take_over_one(self, deployment: Deployment) -> None:
        try:
            await self.persist(lambda: self._rollout.take_over(deployment))
        except Permanent as error:
            reason = str(error)
            await self.persist(lambda: self._rollout.give_up(deployment, reason))

    async def _note_first_answer(self, number: int, first: FirstAnswered) -> None:
        await self.persist(lambda: self._rollout.note_first_answer(number, first))

    async def persist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do it until it works; only Permanent ends it."""
        while True:
            try:
                return await work()
            except Permanent:
                raise
            except Exception as error:
                self._log.warning("waiting_for_backends", reason=repr(error))
                await asyncio.sleep(_RETRY_SECONDS)
