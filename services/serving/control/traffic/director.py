"""Carries out traffic tables: their versions are loaded, the workers route, then it is told."""

from __future__ import annotations

from headrace.errors import Permanent, Refused
from headrace.events import (
    BucketRange,
    TrafficArm,
    TrafficShadow,
    TrafficState,
    TrafficTableChanged,
    TrafficTableFailed,
)
from headrace.runtime.bus import Bus, Caller, Tx
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.control.rollout import Rollout
from services.serving.domain import Order
from services.serving.domain.traffic import TableState, TrafficTable
from services.serving.link.messages import (
    ArmAssignment,
    BucketAssignment,
    ShadowAssignment,
    TrafficAssignment,
)
from services.serving.store import traffic


class TrafficDirector:
    """One table of a model at a time, between its deployments."""

    def __init__(self, *, project: str, bus: Bus, rollout: Rollout, clock: Clock, log: Log) -> None:
        self._project = project
        self._bus = bus
        self._rollout = rollout
        self._clock = clock
        self._log = log

    async def models_waiting(self) -> list[str]:
        """Models with a table to carry out."""
        async with self._bus.transaction() as tx:
            return await traffic.models_waiting(tx.connection, project=self._project)

    async def carry_out_next(self, model: str) -> bool:
        """Put the newest waiting table of a model in force; False if none waits."""
        table = await self._table(model, TableState.OPEN)
        if table is None:
            return False
        try:
            champion = self._rollout.champion_version(model)
            if champion != table.champion:
                raise Refused(f"the champion is version {champion} now, not {table.champion}")
            await self._rollout.route(model, assignment_of(table), await self._orders(table))
        except Permanent as error:
            await self._give_up(table, str(error))
        else:
            await self._put_in_force(table)
        return True

    async def restore(self) -> None:
        """Put back the tables in force, before workers are let in."""
        for model in self._rollout.models:
            table = await self._table(model, TableState.IN_FORCE)
            if table is None or table.champion != self._rollout.champion_version(model):
                continue
            try:
                await self._rollout.restore_route(
                    model, assignment_of(table), await self._orders(table)
                )
            except Permanent as error:
                self._log.error("traffic_not_restored", model=model, reason=str(error))

    async def _table(self, model: str, state: TableState) -> TrafficTable | None:
        async with self._bus.transaction() as tx:
            return await traffic.in_state(
                tx.connection, project=self._project, model=model, state=state
            )

    async def _orders(self, table: TrafficTable) -> list[Order]:
        async with self._bus.transaction() as tx:
            known = await traffic.known_orders(
                tx.connection,
                project=self._project,
                model=table.model,
                versions=table.plan.versions,
            )
        return list(known.values())

    async def _put_in_force(self, table: TrafficTable) -> None:
        async with self._bus.transaction(Caller(correlation_id=table.correlation_id)) as tx:
            done = await traffic.put_in_force(tx.connection, table, at=self._clock.now())
            if done is not None:
                _emit_changed(tx, done)
        self._log.info("traffic_changed", model=table.model, table=table.version)

    async def _give_up(self, table: TrafficTable, reason: str) -> None:
        async with self._bus.transaction(Caller(correlation_id=table.correlation_id)) as tx:
            if await traffic.fail(tx.connection, table, reason=reason):
                tx.emit(
                    TrafficTableFailed(
                        project=table.project,
                        model=table.model,
                        table_version=table.version,
                        reason=reason,
                        failed_at=self._clock.now(),
                    )
                )
        self._log.error("traffic_failed", model=table.model, table=table.version, reason=reason)


def assignment_of(table: TrafficTable) -> TrafficAssignment | None:
    """As the workers are told; None for a table that leaves everything to the champion."""
    plan = table.plan
    if not plan.arms and not plan.shadows:
        return None
    return TrafficAssignment(
        table=table.version,
        salt=table.salt,
        experiment=plan.experiment,
        slow_ms=plan.slow_ms,
        arms=[ArmAssignment(name=arm.name, version=arm.version) for arm in plan.arms],
        buckets=[
            BucketAssignment(end=interval.end, arm=interval.arm) for interval in table.intervals
        ],
        shadows=[
            ShadowAssignment(version=shadow.version, weight=shadow.weight)
            for shadow in plan.shadows
        ],
    )


def _emit_changed(tx: Tx, table: TrafficTable) -> None:
    changed = TrafficTableChanged(
        project=table.project,
        model=table.model,
        table_version=table.version,
        arms=[
            TrafficArm(arm=arm.name, version=arm.version, weight=arm.weight)
            for arm in table.plan.arms
        ],
        shadows=[
            TrafficShadow(version=each.version, weight=each.weight) for each in table.plan.shadows
        ],
        experiment=table.plan.experiment,
        salt=table.salt,
        cause=table.cause,
        author=table.author,
        reason=table.reason,
        changed_at=table.in_force_at or table.created_at,
    )
    event = tx.emit(changed)
    if assignment_of(table) is None:
        tx.tombstone(TrafficState, table.project, table.model, causation_id=event)
        return
    buckets = [
        BucketRange(start=each.start, end=each.end, arm=each.arm) for each in table.intervals
    ]
    tx.emit(TrafficState(**changed.model_dump(), buckets=buckets), causation_id=event)
