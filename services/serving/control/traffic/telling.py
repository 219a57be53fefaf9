"""What is told of a model's traffic: which table is in force, and what to rebuild it by."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from headrace.events import (
    BucketRange,
    TrafficArm,
    TrafficShadow,
    TrafficState,
    TrafficTableChanged,
    TrafficVersion,
)
from headrace.runtime.bus import Tx
from headrace.runtime.db import Connection
from services.serving.control.traffic.remembering import driver_of
from services.serving.domain.traffic import (
    BUCKETS,
    CHAMPION_ARM,
    Interval,
    Plan,
    TableState,
    TrafficTable,
)
from services.serving.store import traffic


async def tell_in_force(tx: Tx, table: TrafficTable) -> None:
    """Every worker routes by it."""
    await tell_state(tx, table, causation_id=tx.emit(_changed(table)))


async def tell_state(tx: Tx, table: TrafficTable, *, causation_id: str | None = None) -> None:
    """All that must be known to go on with a table."""
    state = TrafficState(
        **_changed(table).model_dump(),
        buckets=[
            BucketRange(start=each.start, end=each.end, arm=each.arm) for each in table.intervals
        ],
        champion_version=table.champion,
        slow_ms=table.plan.slow_ms,
        versions=await _versions(tx.connection, table),
        driver=await driver_of(tx.connection, table),
    )
    tx.emit(state, correlation_id=table.correlation_id, causation_id=causation_id)


async def tell_driverless(tx: Tx, version: int, *, project: str, model: str) -> None:
    """Nobody sets the next table any more; the one in force stays."""
    table = await traffic.in_state(
        tx.connection, project=project, model=model, state=TableState.IN_FORCE
    )
    if table is not None and table.version == version:
        await tell_state(tx, table)


async def end_traffic(tx: Tx, *, project: str, model: str, at: datetime, reason: str) -> None:
    """The champion has everything, without a table; its number and salt are remembered."""
    ended = await traffic.end(tx.connection, project=project, model=model)
    if ended is not None:
        await tell_state(tx, emptied(ended, at=at, reason=reason))


def emptied(table: TrafficTable, *, at: datetime, reason: str) -> TrafficTable:
    """The same number and salt with everything left to the champion."""
    return replace(
        table,
        plan=Plan(),
        intervals=(Interval(start=0, end=BUCKETS, arm=CHAMPION_ARM),),
        reason=reason,
        owner=None,
        in_force_at=at,
    )


def _changed(table: TrafficTable) -> TrafficTableChanged:
    plan = table.plan
    return TrafficTableChanged(
        project=table.project,
        model=table.model,
        table_version=table.version,
        arms=[
            TrafficArm(arm=arm.name, version=arm.version, weight=arm.weight) for arm in plan.arms
        ],
        shadows=[TrafficShadow(version=each.version, weight=each.weight) for each in plan.shadows],
        experiment=plan.experiment,
        salt=table.salt,
        cause=table.cause,
        author=table.author,
        reason=table.reason,
        changed_at=table.in_force_at or table.created_at,
    )


async def _versions(connection: Connection, table: TrafficTable) -> list[TrafficVersion]:
    known = await traffic.known_orders(
        connection, project=table.project, model=table.model, versions=table.plan.versions
    )
    return [
        TrafficVersion(
            version=each.version,
            digest=each.digest,
            files=list(each.files),
            converted=list(each.converted),
        )
        for each in known.values()
    ]
