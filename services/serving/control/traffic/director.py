"""Carries out traffic tables: their versions are loaded, the workers route, then it is told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from headrace.errors import Conflict, Permanent, Refused
from headrace.events import TrafficState, TrafficTableFailed
from headrace.runtime.bus import Bus, Caller, Tx
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.control.rollout import Rollout
from services.serving.control.traffic.remembering import put_back
from services.serving.control.traffic.states import TrafficStates, orders_of, table_of
from services.serving.control.traffic.telling import (
    emptied,
    end_traffic,
    tell_in_force,
    tell_state,
)
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

    def __init__(
        self,
        *,
        project: str,
        bus: Bus,
        rollout: Rollout,
        told: TrafficStates,
        clock: Clock,
        log: Log,
    ) -> None:
        """`told` is what the state topic says of tables, also of those that our schema lost."""
        self._project = project
        self._told = told
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

    async def recall(self) -> None:
        """Take over the tables that the state topic knows and our schema does not."""
        for state, correlation_id in self._told.states:
            await self._recall_one(state, table_of(state, correlation_id=correlation_id))

    async def _recall_one(self, state: TrafficState, table: TrafficTable) -> None:
        async with self._bus.transaction(Caller(correlation_id=table.correlation_id)) as tx:
            champion = await traffic.lock(tx.connection, project=self._project, model=table.model)
            known = await traffic.latest(tx.connection, project=self._project, model=table.model)
            if known is not None and known.version >= table.version:
                return
            for order in orders_of(state):
                await traffic.know_version(tx.connection, order)
            await traffic.end(tx.connection, project=self._project, model=table.model)
            if champion == table.champion:
                await traffic.insert(tx.connection, table)
                await self._put_driver_back(tx, state)
            else:
                ended = emptied(table, at=self._clock.now(), reason="another one is champion")
                await traffic.insert(tx.connection, replace(ended, state=TableState.ENDED))
                await tell_state(tx, ended)
        self._log.info("traffic_recalled", model=table.model, table=table.version)

    async def _put_driver_back(self, tx: Tx, state: TrafficState) -> None:
        """Unless the schema, from a backup, has another: that finds its table replaced."""
        with suppress(Conflict):
            await put_back(tx.connection, state)

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
                await self._lose(table, str(error))

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
        unknown = sorted(table.plan.versions - known.keys())
        if unknown:
            raise Refused(f"version {unknown[0]} of {table.model!r}: its files are not known")
        return list(known.values())

    async def _put_in_force(self, table: TrafficTable) -> None:
        async with self._bus.transaction(Caller(correlation_id=table.correlation_id)) as tx:
            done = await traffic.put_in_force(tx.connection, table, at=self._clock.now())
            if done is not None:
                await tell_in_force(tx, done)
        self._log.info("traffic_changed", model=table.model, table=table.version)

    async def _lose(self, table: TrafficTable, reason: str) -> None:
        """What was in force cannot be any more: the champion has everything."""
        async with self._bus.transaction(Caller(correlation_id=table.correlation_id)) as tx:
            now = self._clock.now()
            await end_traffic(tx, project=self._project, model=table.model, at=now, reason=reason)
            tx.emit(_failed(table, reason, now))
        self._log.error("traffic_not_restored", model=table.model, reason=reason)

    async def _give_up(self, table: TrafficTable, reason: str) -> None:
        async with self._bus.transaction(Caller(correlation_id=table.correlation_id)) as tx:
            if await traffic.fail(tx.connection, table, reason=reason):
                tx.emit(_failed(table, reason, self._clock.now()))
        self._log.error("traffic_failed", model=table.model, table=table.version, reason=reason)


def _failed(table: TrafficTable, reason: str, at: datetime) -> TrafficTableFailed:
    return TrafficTableFailed(
        project=table.project,
        model=table.model,
        table_version=table.version,
        reason=reason,
        failed_at=at,
    )


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
