"""Experiments over HTTP: begin one, read it, conclude or stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.requests import Request

from headrace.errors import NotFound
from headrace.events.base import Name
from headrace.runtime.bus import Bus, Caller, Tx
from services.serving.api import Workers
from services.serving.api.bodies import ArmBody, Author, Body, Limit, Reason, Signed
from services.serving.control.traffic.counting import arm_counts
from services.serving.control.traffic.experiments import Experimenter, found_by
from services.serving.domain.experiments import (
    ArmFound,
    Experiment,
    ExperimentPlan,
    Metric,
)
from services.serving.store import experiments


class MetricBody(Body):
    """What an outcome is, and which is better."""

    kind: Literal["reward", "label", "brier", "absolute", "wrong"] = "reward"
    goal: Literal["maximize", "minimize"] | None = None
    low: float = Field(default=0.0, allow_inf_nan=False)
    high: float = Field(default=1.0, allow_inf_nan=False)
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @property
    def metric(self) -> Metric:
        """The same in the terms of the domain; losses are better small."""
        told = self.kind in {"reward", "label"}
        goal = self.goal or ("maximize" if told else "minimize")
        return Metric(kind=self.kind, goal=goal, low=self.low, high=self.high, scale=self.scale)


class ExperimentBody(Signed):
    """Arms beside the champion, which is the control, and how they are compared."""

    arms: list[ArmBody] = Field(min_length=1, max_length=15)
    metric: MetricBody = Field(default_factory=MetricBody)
    alpha: float = Field(default=0.05, gt=0, le=0.5)
    size: int | None = Field(default=None, ge=1)

    @property
    def plan(self) -> ExperimentPlan:
        """The same in the terms of the domain."""
        return ExperimentPlan(
            arms=tuple(arm.arm for arm in self.arms),
            metric=self.metric.metric,
            alpha=self.alpha,
            size=self.size,
        )


class ConclusionBody(Signed):
    """The arm that is to be champion, or `champion` for leaving it at that."""

    winner: Name


def router(
    *,
    project: str,
    bus: Bus,
    experimenter: Experimenter,
    workers: Workers,
    noted: Callable[[], None],
) -> APIRouter:
    """Routes under /api/serving/v1/models/{model}/experiments."""
    routes = APIRouter(prefix="/api/serving/v1/models/{model}/experiments", tags=["traffic"])

    async def known(tx: Tx, model: str, name: str) -> Experiment:
        found = await experiments.named(tx.connection, project=project, model=model, name=name)
        if found is None:
            raise NotFound(f"model {model!r} has no experiment {name!r}")
        return found

    async def shown(tx: Tx, experiment: Experiment) -> dict[str, Any]:
        found = await found_by(tx.connection, experiment)
        return _document(experiment) | {"arms": [_arm(experiment, each, workers) for each in found]}

    @routes.put("/{name}", status_code=202)
    async def begin(
        model: str, name: str, body: ExperimentBody, request: Request, response: Response
    ) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            made, is_new = await experimenter.start(
                tx,
                model=model,
                name=name,
                plan=body.plan,
                author=body.author,
                reason=body.reason,
            )
            document = await shown(tx, made)
        noted()
        if not is_new:
            response.status_code = 200
        return document

    @routes.get("")
    async def search(model: str, limit: Limit = 50) -> dict[str, Any]:
        async with bus.transaction() as tx:
            found = await experiments.of_model(
                tx.connection, project=project, model=model, limit=limit
            )
        return {"experiments": [_document(each) for each in found]}

    @routes.get("/{name}")
    async def get(model: str, name: str) -> dict[str, Any]:
        async with bus.transaction() as tx:
            return await shown(tx, await known(tx, model, name))

    @routes.put("/{name}/conclusion", status_code=202)
    async def conclude(
        model: str, name: str, body: ConclusionBody, request: Request
    ) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            ended = await experimenter.conclude(
                tx,
                await known(tx, model, name),
                winner=body.winner,
                author=body.author,
                reason=body.reason,
            )
            document = await shown(tx, ended)
        noted()
        return document

    @routes.delete("/{name}", status_code=202)
    async def stop(
        model: str, name: str, request: Request, author: Author, reason: Reason = ""
    ) -> dict[str, Any]:
        async with bus.transaction(Caller.of(request.headers)) as tx:
            ended = await experimenter.stop(
                tx, await known(tx, model, name), author=author, reason=reason
            )
            document = await shown(tx, ended)
        noted()
        return document

    return routes


def _document(experiment: Experiment) -> dict[str, Any]:
    metric = experiment.plan.metric
    return {
        "experiment_id": experiment.experiment_id,
        "model": experiment.model,
        "name": experiment.name,
        "state": experiment.state,
        "metric": {
            "kind": metric.kind,
            "goal": metric.goal,
            "low": metric.low,
            "high": metric.high,
            "scale": metric.scale,
        },
        "alpha": experiment.plan.alpha,
        "size": experiment.plan.size,
        "champion_version": experiment.champion,
        "table_version": experiment.table,
        "author": experiment.author,
        "reason": experiment.reason,
        "started_at": experiment.started_at,
        "ended_at": experiment.ended_at,
        "ended_by": experiment.ended_by,
        "winner": experiment.winner,
        "proven": experiment.proven,
        "outcome": experiment.outcome,
        "correlation_id": experiment.correlation_id,
    }


def _arm(experiment: Experiment, found: ArmFound, workers: Workers) -> dict[str, Any]:
    plan = experiment.plan
    counts = arm_counts(workers.statuses, experiment.model, experiment.table, found.arm)
    weights = {arm.name: arm.weight for arm in plan.arms}
    share = weights.get(found.arm, 10_000 - sum(weights.values()))
    apart = found.difference
    return {
        "name": found.arm,
        "version": found.version,
        "percent": share / 100,
        "requests": counts.requests,
        "failures": counts.failures,
        "outcomes": found.count,
        "enough": plan.size is not None and found.count >= plan.size,
        "mean": found.mean,
        "interval": [found.interval.low, found.interval.high],
        "difference": [apart.low, apart.high] if apart else None,
        "p_value": found.p_value,
        "better": found.better,
        "worse": found.worse,
    }
