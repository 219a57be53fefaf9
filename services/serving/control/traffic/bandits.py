"""Drives bandits: weighs the arms anew by what they earned, at a bounded rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from headrace.errors import Conflict, HeadraceError
from headrace.ids import new_id
from headrace.runtime.bus import Bus, Caller, Tx
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.control.traffic.outcomes import Outcomes
from services.serving.control.traffic.setting import set_traffic
from services.serving.domain.bandit import Bandit, BanditPlan, Rewards, check_bandit, weights
from services.serving.domain.traffic import (
    Arm,
    Plan,
    Setting,
    TableState,
    TrafficTable,
)
from services.serving.store import bandits, rollouts, traffic

_PAUSE: Final = 0.5


class BanditDriver:
    """Every change of weights commits with its table; a restart goes on from the schema."""

    def __init__(
        self,
        *,
        project: str,
        bus: Bus,
        outcomes: Outcomes,
        clock: Clock,
        random: np.random.Generator,
        noted: Callable[[], None],
        log: Log,
    ) -> None:
        """`noted` is called after a table was set."""
        self._project = project
        self._bus = bus
        self._outcomes = outcomes
        self._clock = clock
        self._random = random
        self._noted = noted
        self._log = log

    async def start(
        self, tx: Tx, *, model: str, plan: BanditPlan, author: str, reason: str
    ) -> Bandit:
        """A new bandit with even weights. Raises Conflict while something else drives the model."""
        check_bandit(plan)
        champion = await traffic.lock(tx.connection, project=self._project, model=model)
        rolled = await rollouts.running(tx.connection, project=self._project)
        weighed = await bandits.running(tx.connection, project=self._project)
        if model in {each.model for each in rolled} | {each.model for each in weighed}:
            raise Conflict(f"a rollout or a bandit of {model!r} runs already; end it first")
        now = self._clock.now()
        bandit = Bandit(
            bandit_id=new_id(),
            project=self._project,
            model=model,
            plan=plan,
            running=True,
            champion=champion or 0,
            first_table=0,
            table=0,
            judged=0,
            author=author,
            reason=reason,
            correlation_id=tx.caller.correlation_id if tx.caller else new_id(),
            started_at=now,
            weighed_at=now,
        )
        nothing = {arm: Rewards() for arm in bandit.arms}
        table = await self._weigh(tx, bandit, nothing, reason or "a bandit begins")
        bandit = replace(bandit, first_table=table.version, table=table.version)
        await bandits.insert(tx.connection, bandit)
        return bandit

    async def end(self, tx: Tx, bandit: Bandit, *, reason: str) -> None:
        """Weights stay as they are; nobody makes them anew."""
        await bandits.move(tx.connection, replace(bandit, running=False, outcome=reason))
        await rollouts.forget_outcomes(tx.connection, project=self._project, model=bandit.model)

    async def run(self) -> None:
        """Until cancelled; what fails is tried again."""
        while True:
            try:
                for bandit in await self._running():
                    await self._look_at(bandit)
            except Exception as error:
                self._log.warning("bandits_interrupted", reason=repr(error))
            await asyncio.sleep(_PAUSE)

    async def _running(self) -> list[Bandit]:
        async with self._bus.transaction() as tx:
            found = await bandits.running(tx.connection, project=self._project)
            self._outcomes.watch_bandits(found)
            await self._outcomes.flush(tx)
        return found

    async def _look_at(self, bandit: Bandit) -> None:
        try:
            async with self._bus.transaction(Caller(correlation_id=bandit.correlation_id)) as tx:
                changed = await self._step(tx, bandit)
        except HeadraceError as error:
            self._log.warning("bandit_waits", model=bandit.model, reason=str(error))
            return
        if changed:
            self._noted()

    async def _step(self, tx: Tx, bandit: Bandit) -> bool:
        champion = await traffic.lock(tx.connection, project=self._project, model=bandit.model)
        table = await traffic.latest(tx.connection, project=self._project, model=bandit.model)
        if champion != bandit.champion or table is None or table.version != bandit.table:
            await self.end(tx, bandit, reason="another champion, or somebody set another table")
            return False
        if table.state is TableState.FAILED:
            await self.end(tx, bandit, reason=table.failure or "its table failed")
            return False
        now = self._clock.now()
        due = (now - bandit.weighed_at).total_seconds() >= bandit.plan.seconds
        if table.state is not TableState.IN_FORCE or not due:
            return False
        earned = await bandits.rewards(tx.connection, bandit)
        judged = sum(each.count for each in earned.values())
        if judged == bandit.judged:
            return False
        made = await self._weigh(tx, bandit, earned, f"{judged} rewards")
        await bandits.move(
            tx.connection, replace(bandit, table=made.version, judged=judged, weighed_at=now)
        )
        return True

    async def _weigh(
        self, tx: Tx, bandit: Bandit, earned: Mapping[str, Rewards], reason: str
    ) -> TrafficTable:
        shares = weights(bandit.plan, earned, random=self._random)
        arms = tuple(
            Arm(name=name, version=version, weight=shares[name])
            for name, version in bandit.plan.versions.items()
        )
        setting = Setting(
            plan=Plan(arms=arms),
            cause="bandit",
            author=bandit.author,
            reason=reason,
            owner=bandit.bandit_id,
        )
        return await set_traffic(
            tx, project=self._project, model=bandit.model, setting=setting, now=self._clock.now()
        )
