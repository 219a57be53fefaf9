"""Drives rollouts: looks at what both arms did, and takes the step that follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal

from headrace.errors import Conflict, HeadraceError
from headrace.events import ArmComparison, RolloutChanged
from headrace.ids import new_id
from headrace.runtime.bus import Bus, Caller, Tx
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.control.fleet import Fleet
from services.serving.control.traffic.outcomes import Outcomes
from services.serving.control.traffic.setting import set_traffic
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
    Counts,
    Losses,
    Plan,
    Setting,
    TableState,
    TrafficTable,
)
from services.serving.store import bandits, rollouts, traffic

_PAUSE: Final = 0.5
_Action = Literal["start", "advance", "promote", "abort", "finish"]


class RolloutDriver:
    """Every decision commits with its table and its event; a restart goes on from the schema."""

    def __init__(
        self,
        *,
        project: str,
        bus: Bus,
        fleet: Fleet,
        outcomes: Outcomes,
        clock: Clock,
        noted: Callable[[], None],
        log: Log,
    ) -> None:
        """`noted` is called after a table was set."""
        self._project = project
        self._bus = bus
        self._fleet = fleet
        self._outcomes = outcomes
        self._clock = clock
        self._noted = noted
        self._log = log

    async def start(
        self, tx: Tx, *, model: str, plan: RolloutPlan, author: str, reason: str
    ) -> Rollout:
        """A new rollout with its first table. Raises Conflict while another one runs."""
        check_rollout(plan)
        champion = await traffic.lock(tx.connection, project=self._project, model=model)
        running = await rollouts.running(tx.connection, project=self._project)
        weighed = await bandits.running(tx.connection, project=self._project)
        if model in {each.model for each in running} | {each.model for each in weighed}:
            raise Conflict(f"a rollout or a bandit of {model!r} runs already; end it first")
        now = self._clock.now()
        rollout = Rollout(
            rollout_id=new_id(),
            project=self._project,
            model=model,
            plan=plan,
            state=RolloutState.RUNNING,
            step=0,
            table=0,
            champion=champion or 0,
            author=author,
            reason=reason,
            correlation_id=tx.caller.correlation_id if tx.caller else new_id(),
            started_at=now,
            step_at=now,
        )
        table = await self._set_table(tx, rollout, plan.steps[0], reason)
        rollout = replace(rollout, table=table.version)
        await rollouts.insert(tx.connection, rollout)
        _emit(tx, rollout, "start", plan.steps[0], (), reason, now)
        return rollout

    async def abort(self, tx: Tx, rollout: Rollout, *, reason: str) -> None:
        """Give everything back to the champion, whatever was seen."""
        await self._abort(tx, rollout, Decision(act="abort", findings=(), reason=reason))

    async def run(self) -> None:
        """Until cancelled; what fails is tried again."""
        while True:
            try:
                for rollout in await self._running():
                    await self._look_at(rollout)
            except Exception as error:
                self._log.warning("rollouts_interrupted", reason=repr(error))
            await asyncio.sleep(_PAUSE)

    async def _running(self) -> list[Rollout]:
        async with self._bus.transaction() as tx:
            running = await rollouts.running(tx.connection, project=self._project)
            self._outcomes.watch(running)
            await self._outcomes.flush(tx)
        return running

    async def _look_at(self, rollout: Rollout) -> None:
        caller = Caller(correlation_id=rollout.correlation_id)
        try:
            async with self._bus.transaction(caller) as tx:
                changed = await self._step(tx, rollout)
        except HeadraceError as error:
            self._log.warning("rollout_waits", model=rollout.model, reason=str(error))
            return
        if changed:
            self._noted()

    async def _step(self, tx: Tx, rollout: Rollout) -> bool:
        """Whether there may be a new table."""
        champion = await traffic.lock(tx.connection, project=self._project, model=rollout.model)
        table = await traffic.latest(tx.connection, project=self._project, model=rollout.model)
        if champion == rollout.plan.version:
            await self._end(tx, rollout, RolloutState.PROMOTED, "finish", "it is champion now")
        elif champion != rollout.champion:
            await self._end(tx, rollout, RolloutState.ABORTED, "abort", "another one is champion")
        elif table is None or table.version != rollout.table:
            reason = "somebody set another table"
            await self._end(tx, rollout, RolloutState.ABORTED, "abort", reason)
        elif table.state is TableState.FAILED:
            reason = table.failure or "its table failed"
            await self._end(tx, rollout, RolloutState.ABORTED, "abort", reason)
        elif table.state is TableState.IN_FORCE and rollout.state is RolloutState.RUNNING:
            current = replace(rollout, step_at=table.in_force_at or rollout.step_at)
            return await self._act(tx, current, await self._decision(tx, current))
        return False

    async def _decision(self, tx: Tx, rollout: Rollout) -> Decision:
        losses = await rollouts.losses(tx.connection, rollout)
        canary, champion = (
            ArmSeen(counts=self._counts(rollout, arm), losses=losses.get(arm, Losses()))
            for arm in (CANARY_ARM, CHAMPION_ARM)
        )
        return decide(rollout, canary, champion, now=self._clock.now())

    def _counts(self, rollout: Rollout, arm: str) -> Counts:
        """Over the workers that are here; one that died takes its counts of the step along."""
        counts = Counts()
        for status in self._fleet.statuses:
            for model in status.models:
                if model.name != rollout.model or model.table != rollout.table:
                    continue
                for each in model.arms:
                    if each.arm == arm:
                        counts += Counts(
                            requests=each.requests, failures=each.failures, slow=each.slow
                        )
        return counts

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
            await rollouts.forget_outcomes(
                tx.connection, project=self._project, model=rollout.model
            )

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
