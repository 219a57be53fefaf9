"""Bandits over HTTP: begin one, look at it, end it."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from headrace.errors import NotFound
from headrace.runtime.bus import Bus, Caller
from services.serving.api.bodies import Author, Signed, Version, weight_of
from services.serving.control.traffic.bandits import BanditDriver, earned_by
from services.serving.domain.bandit import Bandit, BanditPlan
from services.serving.domain.judging import Total
from services.serving.store import bandits


class BanditBody(Signed):
    """Arms beside the champion by name, and how they are weighed; `floor` in percent."""

    arms: dict[str, Version] = Field(min_length=1, max_length=15)
    reward: Literal["bernoulli", "gaussian"] = "bernoulli"
    floor: float = Field(default=5, ge=0, le=50)
    seconds: float = Field(default=60, ge=1)

    @property
    def plan(self) -> BanditPlan:
        """The same in the terms of the domain."""
        return BanditPlan(
            versions=self.arms,
            reward=self.reward,
            floor=weight_of(self.floor),
            seconds=self.seconds,
        )


def router(*, project: str, bus: Bus, driver: BanditDriver) -> APIRouter:
    """Routes under /api/serving/v1/models/{model}/bandit."""
    routes = APIRouter(prefix="/api/serving/v1/models/{model}/bandit", tags=["traffic"])

    @routes.put("", status_code=202)
    async def begin(model: str, body: BanditBody, request: Request) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            made = await driver.start(
                tx, model=model, plan=body.plan, author=body.author, reason=body.reason
            )
        return _document(made, {})

    @routes.get("")
    async def get(model: str) -> dict[str, Any]:
        async with bus.transaction() as tx:
            found = await bandits.of_model(tx.connection, project=project, model=model)
            if found is None:
                raise NotFound(f"model {model!r} never had a bandit")
            return _document(found, await earned_by(tx.connection, found))

    @routes.delete("", status_code=202)
    async def end(model: str, request: Request, author: Author) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            found = await bandits.of_model(tx.connection, project=project, model=model)
            if found is None or not found.running:
                raise NotFound(f"no bandit of {model!r} runs")
            await driver.end(tx, found, reason=f"ended by {author}")
        return {"bandit_id": found.bandit_id}

    return routes


def _document(bandit: Bandit, earned: dict[str, Total]) -> dict[str, Any]:
    return {
        "bandit_id": bandit.bandit_id,
        "model": bandit.model,
        "running": bandit.running,
        "arms": dict(bandit.plan.versions),
        "reward": bandit.plan.reward,
        "floor": bandit.plan.floor / 100,
        "seconds": bandit.plan.seconds,
        "table_version": bandit.table,
        "rewards": {
            arm: {"count": each.count, "total": each.total} for arm, each in earned.items()
        },
        "author": bandit.author,
        "reason": bandit.reason,
        "started_at": bandit.started_at,
        "weighed_at": bandit.weighed_at,
        "outcome": bandit.outcome,
    }
