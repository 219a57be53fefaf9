"""A model's traffic over HTTP: set it, look at it, end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from headrace.runtime.bus import Bus, Caller
from headrace.runtime.clock import Clock
from services.serving.api.bodies import (
    NO_NUL,
    ArmBody,
    Author,
    Body,
    Limit,
    Reason,
    Signed,
    Version,
    weight_of,
)
from services.serving.control.traffic.setting import set_traffic
from services.serving.domain.traffic import Plan, Setting, Shadow, TableState, TrafficTable
from services.serving.store import traffic


class ShadowBody(Body):
    """A version that runs beside a share of the answers."""

    version: Version
    percent: float = Field(gt=0, le=100)


class TrafficBody(Signed):
    """What the traffic shall be, who wants it and why; the champion has what the arms leave."""

    arms: list[ArmBody] = Field(default_factory=list)
    shadows: list[ShadowBody] = Field(default_factory=list)
    experiment: str | None = None
    salt: str | None = Field(default=None, min_length=1, max_length=64, pattern=NO_NUL)
    slow_ms: float | None = Field(default=None, gt=0)
    expected_version: int | None = Field(default=None, ge=0)

    @property
    def plan(self) -> Plan:
        """The same in the terms of the domain."""
        return Plan(
            arms=tuple(arm.arm for arm in self.arms),
            shadows=tuple(
                Shadow(version=each.version, weight=weight_of(each.percent))
                for each in self.shadows
            ),
            experiment=self.experiment,
            salt=self.salt,
            slow_ms=self.slow_ms,
        )


def router(*, project: str, bus: Bus, clock: Clock, noted: Callable[[], None]) -> APIRouter:
    """Routes under /api/serving/v1/models/{model}/traffic; `noted` is called after a change."""
    routes = APIRouter(prefix="/api/serving/v1/models/{model}/traffic", tags=["traffic"])

    async def set_to(model: str, setting: Setting, request: Request) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            table = await set_traffic(
                tx, project=project, model=model, setting=setting, now=clock.now()
            )
        noted()
        return table_document(table)

    @routes.put("", status_code=202)
    async def put(model: str, body: TrafficBody, request: Request) -> dict[str, Any]:
        setting = Setting(
            plan=body.plan,
            cause="request",
            author=body.author,
            reason=body.reason,
            expected=body.expected_version,
        )
        return await set_to(model, setting, request)

    @routes.delete("", status_code=202)
    async def delete(
        model: str, request: Request, author: Author, reason: Reason = ""
    ) -> dict[str, Any]:
        setting = Setting(plan=Plan(), cause="request", author=author, reason=reason)
        return await set_to(model, setting, request)

    @routes.get("")
    async def get(model: str) -> dict[str, Any]:
        async with bus.transaction() as tx:
            in_force = await traffic.in_state(
                tx.connection, project=project, model=model, state=TableState.IN_FORCE
            )
            newest = await traffic.latest(tx.connection, project=project, model=model)
        return {
            "model": model,
            "in_force": table_document(in_force) if in_force else None,
            "latest": table_document(newest) if newest else None,
        }

    @routes.get("/history")
    async def history(model: str, limit: Limit = 50) -> dict[str, Any]:
        async with bus.transaction() as tx:
            tables = await traffic.history(tx.connection, project=project, model=model, limit=limit)
        return {"tables": [table_document(table) for table in tables]}

    return routes


def table_document(table: TrafficTable) -> dict[str, Any]:
    """A table as JSON."""
    return {
        "model": table.model,
        "version": table.version,
        "state": table.state,
        "arms": [
            {"name": arm.name, "version": arm.version, "percent": arm.weight / 100}
            for arm in table.plan.arms
        ],
        "champion_version": table.champion,
        "champion_percent": table.plan.weights["champion"] / 100,
        "shadows": [
            {"version": each.version, "percent": each.weight / 100} for each in table.plan.shadows
        ],
        "experiment": table.plan.experiment,
        "salt": table.salt,
        "slow_ms": table.plan.slow_ms,
        "cause": table.cause,
        "author": table.author,
        "reason": table.reason,
        "owner": table.owner,
        "created_at": table.created_at,
        "in_force_at": table.in_force_at,
        "failure": table.failure,
        "correlation_id": table.correlation_id,
    }
