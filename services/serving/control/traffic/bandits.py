"""Drives bandits: weighs the arms anew by what they earned, at a bounded rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from headrace.ids import new_id
from headrace.runtime.bus import Tx
from headrace.runtime.clock import Clock
from headrace.runtime.db import Connection
from services.serving.control.traffic.driving import begin, why_over
from services.serving.control.traffic.setting import set_traffic
from services.serving.control.traffic.telling import tell_driverless
from services.serving.domain.bandit import Bandit, BanditPlan, check_bandit, weights
from services.serving.domain.judging import Total
from services.serving.domain.traffic import (
    Arm,
    Plan,
    Setting,
    TableState,
    TrafficTable,
)
from services.serving.store import bandits, outcomes


class BanditDriver:
    """Every change of weights commits with its table; a restart goes on from the schema."""

    def __init__(self, *, project: str, clock: Clock, random: np.random.Generator) -> None:
        self._project = project
        self._clock = clock
        self._random = random

    async def start(
        self, tx: Tx, *, model: str, plan: BanditPlan, author: str, reason: str
    ) -> Bandit:
        """A new bandit with even weights. Raises Conflict while something else drives the model."""
        check_bandit(plan)
        now = self._clock.now()
        beginning = await begin(
            tx, project=self._project, model=model, author=author, reason=reason, now=now
        )
        bandit = Bandit(
            bandit_id=new_id(),
            plan=plan,
            running=True,
            first_table=0,
            judged=0,
            weighed_at=now,
            **beginning,
        )
        nothing = {arm: Total() for arm in bandit.arms}
        table = await self._weigh(tx, bandit, nothing, reason or "a bandit begins")
        bandit = replace(bandit, first_table=table.version, table=table.version)
        await bandits.insert(tx.connection, bandit)
        return bandit

    async def end(self, tx: Tx, bandit: Bandit, *, reason: str) -> None:
        """Weights stay as they are; nobody makes them anew."""
        if await bandits.move(tx.connection, replace(bandit, running=False, outcome=reason)):
            await outcomes.forget(tx.connection, project=self._project, model=bandit.model)
            await tell_driverless(tx, bandit.table, project=self._project, model=bandit.model)

    async def step(
        self, tx: Tx, bandit: Bandit, champion: int | None, table: TrafficTable | None
    ) -> bool:
        """Weigh the arms anew if it is time to and rewards came; ends what cannot go on."""
        over = why_over(bandit, champion, table)
        if over is not None or table is None:
            await self.end(tx, bandit, reason=over or "its table is gone")
            return False
        now = self._clock.now()
        due = (now - bandit.weighed_at).total_seconds() >= bandit.plan.seconds
        if table.state is not TableState.IN_FORCE or not due:
            return False
        earned = await earned_by(tx.connection, bandit)
        judged = sum(each.count for each in earned.values())
        if judged == bandit.judged:
            return False
        made = await self._weigh(tx, bandit, earned, f"{judged} rewards")
        await bandits.move(
            tx.connection, replace(bandit, table=made.version, judged=judged, weighed_at=now)
        )
        return True

    async def _weigh(
        self, tx: Tx, bandit: Bandit, earned: Mapping[str, Total], reason: str
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


async def earned_by(connection: Connection, bandit: Bandit) -> dict[str, Total]:
    """What every arm earned since the bandit began; each prediction counts once."""
    watched = bandit.watched
    earned = await outcomes.totals(
        connection,
        project=bandit.project,
        model=bandit.model,
        first=watched.first,
        last=watched.last,
    )
    return {arm: earned.get(arm, Total()) for arm in bandit.arms}
