"""Learning: labels in their turn, and all that follows from them in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
from aiokafka.errors import KafkaError

from headrace.learning import Plan, State
from headrace.learning.estimator import Diverged, Estimator
from headrace.runtime.bus import Bus, Tx, failpoints
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.domain.learners import Learner, Snapshot, Waiting, Walk, walk
from services.serving.learner.meters import LearnerMeters
from services.serving.learner.progress import NEVER, LogProgress
from services.serving.store import learners, learning, snapshots

_LABELS: Final = 1000
_PAUSE: Final = 0.2
_TROUBLE_PAUSE: Final = 1.0
_TIDY_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stepped:
    """What a step did: whether there may be more to do at once, and what it waits for."""

    more: bool
    waits: bool = False


class Learning:
    """Takes the labels of every learner in their turn. The schema is all that it remembers."""

    def __init__(
        self, *, project: str, bus: Bus, clock: Clock, meters: LearnerMeters, log: Log
    ) -> None:
        self._project = project
        self._bus = bus
        self._clock = clock
        self._meters = meters
        self._log = log
        self._noted = asyncio.Event()
        self._tidied = 0.0

    def note(self) -> None:
        """There may be something to learn."""
        self._noted.set()

    async def run(self, progress: LogProgress) -> None:
        """Until cancelled; what fails is tried again."""
        while True:
            try:
                await self._round(progress)
            except Exception as error:
                self._log.warning("learning_interrupted", reason=repr(error))
                await asyncio.sleep(_TROUBLE_PAUSE)

    async def _round(self, progress: LogProgress) -> None:
        self._noted.clear()
        stepped = [await self._stepped(name, progress) for name in await self._names()]
        await self._tidy()
        if any(each.waits for each in stepped):
            await self._look(progress)
        if not any(each.more for each in stepped):
            await self._pause()

    async def _stepped(self, name: str, progress: LogProgress) -> Stepped:
        """A step; trouble with one learner is no trouble of the others."""
        try:
            return await self.step(name, progress)
        except Exception as error:
            self._log.warning("learner_interrupted", learner=name, reason=repr(error))
            return Stepped(more=False)

    async def step(self, name: str, progress: LogProgress) -> Stepped:
        """Learn from the next labels of a learner; what it knows then is committed with them."""
        read_until = progress.read_until
        async with self._bus.transaction() as tx:
            learner = await learners.find(
                tx.connection, project=self._project, name=name, lock=True
            )
            if learner is None or learner.failure is not None:
                return Stepped(more=False)
            waiting = await learning.waiting(tx.connection, learner, limit=_LABELS)
            walked = walk(learner, waiting, read_until=read_until)
            if walked.blocked_until is not None and not walked.looked_at:
                surplus = await self._surplus(tx, learner)
                walked = walk(learner, waiting, read_until=read_until, surplus=surplus)
            await self._settle(tx, learner, waiting, walked)
            failpoints.reach("before_commit")
        failpoints.reach("after_commit")
        blocked = walked.blocked_until
        return Stepped(
            more=walked.looked_at > 0,
            waits=blocked is not None and blocked <= self._clock.now(),
        )

    async def _settle(self, tx: Tx, learner: Learner, waiting: list[Waiting], walked: Walk) -> None:
        try:
            state = await asyncio.to_thread(_learn, learner.plan, learner.state, walked.learned)
        except Diverged as error:
            await self._fail(tx, learner, walked, str(error))
            return
        after = replace(learner, state=state, counts=walked.counts, positions=walked.positions)
        if walked.learned:
            await learning.add_examples(
                tx.connection, learner, walked.learned, first=learner.state.learned + 1
            )
        if walked.looked_at:
            last = waiting[walked.looked_at - 1].place
            await learning.settle(tx.connection, learner, through=last)
        if after.is_due(self._clock.now()):
            after = await self._snapshot(tx, after)
        if after != learner:
            await learners.save(tx.connection, after)

    async def _fail(self, tx: Tx, learner: Learner, walked: Walk, reason: str) -> None:
        """What came before stays; somebody has to give it another plan."""
        first, last = walked.learned[0], walked.learned[-1]
        told = (
            f"labels {first.partition}/{first.offset} to {last.partition}/{last.offset}: {reason}"
        )
        await learners.save(tx.connection, replace(learner, failure=told))
        self._log.error("learner_failed", learner=learner.name, reason=told)

    async def _snapshot(self, tx: Tx, learner: Learner) -> Learner:
        now = self._clock.now()
        snapshot = Snapshot.of(learner, now)
        await snapshots.add(tx.connection, snapshot)
        return replace(
            learner,
            snapshots=snapshot.number,
            snapshot_state=learner.state,
            snapshot_positions=learner.positions,
            snapshot_at=now,
        )

    async def _surplus(self, tx: Tx, learner: Learner) -> int:
        """How many labels are not waited for, since too many wait."""
        limit = learner.settings.max_labels
        count = await learning.waiting_labels(tx.connection, learner, up_to=limit + _LABELS)
        return max(0, count - limit)

    async def _names(self) -> list[str]:
        """Learners that there is something to do for."""
        async with self._bus.transaction() as tx:
            found = await learners.every(tx.connection, project=self._project)
            labelled = await learning.with_labels(tx.connection, project=self._project)
            unpublished = await snapshots.unpublished(tx.connection, project=self._project)
        self._meters.show(found, unpublished)
        now = self._clock.now()
        return [each.name for each in found if each.name in labelled or each.is_due(now)]

    async def _look(self, progress: LogProgress) -> None:
        try:
            await progress.look()
        except (KafkaError, OSError) as error:
            self._log.warning("prediction_log_unknown", reason=repr(error))

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_PAUSE):
                await self._noted.wait()
        except TimeoutError:
            return

    async def _tidy(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._tidied < _TIDY_SECONDS:
            return
        self._tidied = now
        async with self._bus.transaction() as tx:
            for learner in await learners.every(tx.connection, project=self._project):
                oldest = self._clock.now() - timedelta(hours=learner.settings.keep_hours)
                count = await learning.tidy(tx.connection, learner, oldest=max(oldest, NEVER))
                await learners.forget_generations(
                    tx.connection, project=self._project, learner=learner.name
                )
                if count:
                    await learners.note_expired(
                        tx.connection, project=self._project, name=learner.name, count=count
                    )


def _learn(plan: Plan, state: State, learned: Sequence[Waiting]) -> State:
    if not learned:
        return state
    estimator = Estimator(plan, state)
    for each in learned:
        estimator.learn(np.frombuffer(each.features or b"", "<f8").tolist(), each.label)
    return estimator.state
