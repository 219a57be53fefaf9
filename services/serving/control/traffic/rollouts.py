"""Drives rollouts: looks at what both arms did, and takes the step that follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Literal

from headrace.events import ArmComparison, PromotionDecided, RolloutChanged
from headrace.ids import new_id
from headrace.runtime.bus import Event, Tx
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.control.fleet import Fleet
from services.serving.control.traffic.counting import arm_counts
from services.serving.control.traffic.driving import begin, why_over
from services.serving.control.traffic.setting import set_traffic
from services.serving.domain.judging import Total
from services.serving.domain.rollouts import (
    CANARY_ARM,
    Decision,
    Finding,
    Rollout,
    RolloutPlan,
    RolloutState,
    check_rollout,
    decide,
)
from services.serving.domain.traffic import (
    BUCKETS,
    CHAMPION_ARM,
    Arm,
    ArmSeen,
    Losses,
    Plan,
    Setting,
    TableState,
    TrafficTable,
)
from services.serving.store import outcomes, rollouts, traffic

_Action = Literal["start", "advance", "promote", "abort", "finish"]


class RolloutDriver:
    """Every decision commits with its table and its event; a restart goes on from the schema."""

    def __init__(self, *, project: str, fleet: Fleet, clock: Clock, log: Log) -> None:
        self._project = project
        self._fleet = fleet
        self._clock = clock
        self._log = log

    async def start(
        self, tx: Tx, *, model: str, plan: RolloutPlan, author: str, reason: str
    ) -> Rollout:
        """A new rollout with its first table. Raises Conflict while something drives it."""
        check_rollout(plan)
        now = self._clock.now()
        beginning = await begin(
            tx, project=self._project, model=model, author=author, reason=reason, now=now
        )
        rollout = Rollout(
            rollout_id=new_id(),
            plan=plan,
            state=RolloutState.RUNNING,
            step=0,
            step_at=now,
            **beginning,
        )
        table = await self._set_table(tx, rollout, plan.steps[0], reason)
        rollout = replace(rollout, table=table.version)
        await rollouts.insert(tx.connection, rollout)
        _emit(tx, rollout, "start", plan.steps[0], (), reason, now)
        return rollout

    async def abort(self, tx: Tx, rollout: Rollout, *, reason: str) -> None:
        """Give everything back to the champion, whatever was seen."""
        await self._abort(tx, rollout, Decision(act="abort", findings=(), reason=reason))

    async def on_rejected(self, event: Event[PromotionDecided], tx: Tx) -> None:
        """The promotion that a rollout asked for was refused: the champion has everything again."""
        data = event.data
        if await traffic.lock(tx.connection, project=self._project, model=data.model) is None:
            return
        for rollout in await rollouts.running(tx.connection, project=self._project):
            asked = rollout.state is RolloutState.PROMOTING
            if asked and (rollout.model, rollout.plan.version) == (data.model, data.version):
                await self.abort(tx, rollout, reason=f"its promotion was rejected: {data.reason}")

    async def step(
        self, tx: Tx, rollout: Rollout, champion: int | None, table: TrafficTable | None
    ) -> bool:
        """Take the step that follows from what was seen, if any; ends what cannot go on."""
        if champion == rollout.plan.version:
            await self._end(tx, rollout, RolloutState.PROMOTED, "finish", "it is champion now")
            return False
        over = why_over(rollout, champion, table)
        if over is not None or table is None:
            reason = over or "its table is gone"
            await self._end(tx, rollout, RolloutState.ABORTED, "abort", reason)
            return False
        if table.state is not TableState.IN_FORCE or rollout.state is not RolloutState.RUNNING:
            return False
        current = replace(rollout, step_at=table.in_force_at or rollout.step_at)
        return await self._act(tx, current, await self._decision(tx, current))

    async def _decision(self, tx: Tx, rollout: Rollout) -> Decision:
        totals = await outcomes.totals(
            tx.connection,
            project=self._project,
            model=rollout.model,
            first=rollout.table,
            last=rollout.table,
        )
        canary, champion = (
            ArmSeen(
                counts=arm_counts(self._fleet.statuses, rollout.model, rollout.table, arm),
                losses=_losses(totals.get(arm, Total())),
            )
            for arm in (CANARY_ARM, CHAMPION_ARM)
        )
        return decide(rollout, canary, champion, now=self._clock.now())

    async def _act(self, tx: Tx, rollout: Rollout, decision: Decision) -> bool:
        match decision.act:
            case "wait":
                return False
            case "abort":
                await self._abort(tx, rollout, decision)
            case "advance":
                await self._advance(tx, rollout, decision)
            case "promote":
                await self._promote(tx, rollout, decision)
        self._log.info(
            "rollout_decided", model=rollout.model, act=decision.act, reason=decision.reason
        )
        return decision.act != "promote"

    async def _advance(self, tx: Tx, rollout: Rollout, decision: Decision) -> None:
        step = rollout.step + 1
        weight = rollout.plan.steps[step]
        table = await self._set_table(tx, rollout, weight, decision.reason)
        await rollouts.move(tx.connection, replace(rollout, step=step, table=table.version))
        _emit(tx, rollout, "advance", weight, decision.findings, decision.reason, self._clock.now())

    async def _promote(self, tx: Tx, rollout: Rollout, decision: Decision) -> None:
        now = self._clock.now()
        await rollouts.move(
            tx.connection,
            replace(rollout, state=RolloutState.PROMOTING, decided_at=now, outcome=decision.reason),
        )
        weight = rollout.plan.steps[rollout.step]
        _emit(tx, rollout, "promote", weight, decision.findings, decision.reason, now)

    async def _abort(self, tx: Tx, rollout: Rollout, decision: Decision) -> None:
        await self._set_table(tx, rollout, 0, decision.reason)
        await self._end(
            tx, rollout, RolloutState.ABORTED, "abort", decision.reason, decision.findings
        )

    async def _end(
        self,
        tx: Tx,
        rollout: Rollout,
        state: RolloutState,
        action: _Action,
        reason: str,
        found: tuple[Finding, ...] = (),
    ) -> None:
        now = self._clock.now()
        ended = replace(rollout, state=state, decided_at=now, outcome=reason)
        if await rollouts.move(tx.connection, ended):
            weight = BUCKETS if state is RolloutState.PROMOTED else 0
            _emit(tx, rollout, action, weight, found, reason, now)
            await outcomes.forget(tx.connection, project=self._project, model=rollout.model)

    async def _set_table(self, tx: Tx, rollout: Rollout, weight: int, reason: str) -> TrafficTable:
        arm = Arm(name=CANARY_ARM, version=rollout.plan.version, weight=weight)
        plan = Plan(arms=(arm,) if weight else (), slow_ms=rollout.plan.slow_ms)
        setting = Setting(
            plan=plan,
            cause="rollout",
            author=rollout.author,
            reason=reason,
            owner=rollout.rollout_id,
        )
        return await set_traffic(
            tx, project=self._project, model=rollout.model, setting=setting, now=self._clock.now()
        )


def _losses(total: Total) -> Losses:
    return Losses(count=total.count, total=total.total)


def _emit(
    tx: Tx,
    rollout: Rollout,
    action: _Action,
    weight: int,
    found: tuple[Finding, ...],
    reason: str,
    at: datetime,
) -> None:
    tx.emit(
        RolloutChanged(
            project=rollout.project,
            rollout_id=rollout.rollout_id,
            model=rollout.model,
            version=rollout.plan.version,
            champion_version=rollout.champion,
            action=action,
            percent=weight / 100,
            alpha=rollout.plan.alpha,
            evidence=[_comparison(each) for each in found],
            reason=reason,
            author=rollout.author,
            changed_at=at,
        )
    )


def _comparison(found: Finding) -> ArmComparison:
    return ArmComparison.model_validate(
        {
            "criterion": found.criterion,
            "canary_count": found.canary.count,
            "canary_mean": found.canary.mean,
            "champion_count": found.champion.count,
            "champion_mean": found.champion.mean,
            "difference_low": found.difference.low,
            "difference_high": found.difference.high,
            "tolerance": found.tolerance,
        }
    )
