"""Bandits over HTTP: begin one, look at it, end it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from headrace.errors import NotFound
from headrace.events.base import Name
from headrace.runtime.bus import Bus, Caller
from services.serving.api.traffic import weight_of
from services.serving.control.traffic.bandits import BanditDriver
from services.serving.domain.bandit import Bandit, BanditPlan, Rewards
from services.serving.store import bandits


class BanditBody(BaseModel):
    """Arms beside the champion by name, and how they are weighed; `floor` in percent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arms: dict[str, Annotated[int, Field(ge=1, lt=2**31)]] = Field(min_length=1, max_length=15)
    reward: Literal["bernoulli", "gaussian"] = "bernoulli"
    floor: float = Field(default=5, ge=0, le=50)
    seconds: float = Field(default=60, ge=1)
    author: Name
    reason: str = Field(default="", max_length=2000)

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
            return _document(found, await bandits.rewards(tx.connection, found))

    @routes.delete("", status_code=202)
    async def end(
        model: str, request: Request, author: Annotated[str, Query(min_length=1, max_length=250)]
    ) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            found = await bandits.of_model(tx.connection, project=project, model=model)
            if found is None or not found.running:
                raise NotFound(f"no bandit of {model!r} runs")
            await driver.end(tx, found, reason=f"ended by {author}")
        return {"bandit_id": found.bandit_id}

    return routes


def _document(bandit: Bandit, earned: dict[str, Rewards]) -> dict[str, Any]:
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
