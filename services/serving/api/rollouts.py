"""Rollouts that drive themselves, over HTTP: begin one, look at it, end it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from headrace.errors import NotFound
from headrace.runtime.bus import Bus, Caller
from services.serving.api.bodies import (
    Author,
    Body,
    Limit,
    Reason,
    Signed,
    Version,
    weight_of,
)
from services.serving.control.traffic.rollouts import RolloutDriver
from services.serving.domain.rollouts import Quality, Rollout, RolloutPlan
from services.serving.store import rollouts


class QualityBody(Body):
    """How labelled predictions are judged."""

    loss: Literal["brier", "absolute", "wrong"] = "brier"
    tolerance: float = Field(default=0.02, ge=0, le=1)
    scale: float = Field(default=1.0, gt=0)


class RolloutBody(Signed):
    """What a rollout may do; times in seconds, steps in percent."""

    version: Version
    steps: list[float] = Field(default=[1, 5, 25, 50], min_length=1, max_length=20)
    alpha: float = Field(default=0.05, gt=0, le=0.5)
    step_seconds: float = Field(default=60, ge=0)
    step_requests: int = Field(default=100, ge=1)
    deadline_seconds: float = Field(default=86_400, gt=0)
    error_tolerance: float = Field(default=0.01, ge=0, le=1)
    slow_ms: float | None = Field(default=None, gt=0)
    slow_tolerance: float = Field(default=0.05, ge=0, le=1)
    quality: QualityBody | None = None

    @property
    def plan(self) -> RolloutPlan:
        """The same in the terms of the domain."""
        given = self.model_dump(exclude={"author", "reason", "steps", "quality"})
        quality = Quality(**self.quality.model_dump()) if self.quality else None
        steps = tuple(weight_of(percent) for percent in self.steps)
        return RolloutPlan(**given, steps=steps, quality=quality)


def router(*, project: str, bus: Bus, driver: RolloutDriver) -> APIRouter:
    """Routes under /api/serving/v1/models/{model}/rollouts."""
    routes = APIRouter(prefix="/api/serving/v1/models/{model}/rollouts", tags=["traffic"])

    @routes.post("", status_code=202)
    async def begin(model: str, body: RolloutBody, request: Request) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            made = await driver.start(
                tx, model=model, plan=body.plan, author=body.author, reason=body.reason
            )
        return rollout_document(made)

    @routes.get("")
    async def search(model: str, limit: Limit = 50) -> dict[str, Any]:
        async with bus.transaction() as tx:
            found = await rollouts.of_model(
                tx.connection, project=project, model=model, limit=limit
            )
        return {"rollouts": [rollout_document(each) for each in found]}

    @routes.delete("", status_code=202)
    async def end(
        model: str, request: Request, author: Author, reason: Reason = ""
    ) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            running = await rollouts.running(tx.connection, project=project)
            mine = next((each for each in running if each.model == model), None)
            if mine is None:
                raise NotFound(f"no rollout of {model!r} runs")
            await driver.abort(tx, mine, reason=f"ended by {author}: {reason}")
        return {"rollout_id": mine.rollout_id}

    return routes


def rollout_document(rollout: Rollout) -> dict[str, Any]:
    """A rollout as JSON."""
    plan = asdict(rollout.plan)
    return {
        "rollout_id": rollout.rollout_id,
        "model": rollout.model,
        "version": rollout.plan.version,
        "champion_version": rollout.champion,
        "state": rollout.state,
        "step": rollout.step,
        "percent": rollout.plan.steps[rollout.step] / 100,
        "table_version": rollout.table,
        "plan": {**plan, "steps": [weight / 100 for weight in rollout.plan.steps]},
        "author": rollout.author,
        "reason": rollout.reason,
        "started_at": rollout.started_at,
        "decided_at": rollout.decided_at,
        "outcome": rollout.outcome,
        "correlation_id": rollout.correlation_id,
    }
