"""What serving shows over HTTP: models, deployments, workers."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import asyncpg
from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from headrace.errors import NotFound
from services.serving import store
from services.serving.domain import Deployment, State
from services.serving.domain.conversions import answers_converted
from services.serving.link.messages import LogRules, Status


class Workers(Protocol):
    """The connected workers, as far as this needs to know them."""

    @property
    def statuses(self) -> list[Status]:
        """What they look like."""
        ...


class NewLogRules(LogRules):
    """Rules of the prediction log, and who wants them."""

    model_config = ConfigDict(extra="forbid")
    by: str = Field(min_length=1, max_length=250)


class LogRuleBook(Protocol):
    """The rules of the prediction log."""

    def of(self, model: str) -> LogRules:
        """Those of a model."""
        ...

    async def change(self, model: str, rules: LogRules, *, by: str) -> LogRules:
        """Make new ones."""
        ...


def router(
    *, project: str, pool: asyncpg.Pool, workers: Workers, log_rules: LogRuleBook
) -> APIRouter:
    """Routes under /api/serving/v1."""
    routes = APIRouter(prefix="/api/serving/v1")

    @routes.get("/models")
    async def models() -> dict[str, Any]:
        async with pool.acquire() as connection:
            names = await store.models(connection, project=project)
        return {"models": [await _model(pool, project, name, workers.statuses) for name in names]}

    @routes.get("/models/{model}")
    async def model(model: str, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        async with pool.acquire() as connection:
            deployments = await store.history(connection, project=project, model=model, limit=limit)
        if not deployments:
            raise NotFound(f"model {model!r}: serving was never asked to serve it")
        shown = await _model(pool, project, model, workers.statuses)
        return shown | {"deployments": [_deployment(each) for each in deployments]}

    @routes.get("/models/{model}/log-rules")
    async def rules_of(model: str) -> dict[str, Any]:
        return log_rules.of(model).model_dump(mode="json")

    @routes.put("/models/{model}/log-rules")
    async def change_rules(model: str, given: NewLogRules) -> dict[str, Any]:
        rules = LogRules.model_validate(given.model_dump(exclude={"by", "version"}))
        changed = await log_rules.change(model, rules, by=given.by)
        return changed.model_dump(mode="json")

    @routes.get("/workers")
    async def connected() -> dict[str, Any]:
        return {"workers": [status.model_dump(mode="json") for status in workers.statuses]}

    return routes


async def _model(
    pool: asyncpg.Pool, project: str, model: str, statuses: list[Status]
) -> dict[str, Any]:
    async with pool.acquire() as connection:
        champion = await store.champion_of(connection, project=project, model=model)
        candidate = await store.candidate_of(connection, project=project, model=model)
        latest = await store.history(connection, project=project, model=model, limit=1)
    pinned = champion.pinned if champion else None
    return {
        "model": model,
        "champion": _deployment(champion.deployment) if champion else None,
        "pinned_version": pinned.version if pinned else None,
        "candidate_version": candidate.version if candidate else None,
        "failure": _failure(latest[0]) if latest else None,
        "workers": [
            {"worker": status.worker, **entry.model_dump(mode="json", exclude={"name"})}
            for status in statuses
            for entry in status.models
            if entry.name == model
        ],
    }


def _failure(latest: Deployment) -> dict[str, Any] | None:
    if latest.state is not State.FAILED:
        return None
    return {
        "version": latest.version,
        "kind": latest.order.kind,
        "reason": latest.reason,
        "at": latest.finished_at,
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    return {
        "deployment": deployment.number,
        "version": deployment.version,
        "kind": deployment.order.kind,
        "state": deployment.state,
        "digest": deployment.order.digest,
        "previous_version": deployment.previous_version,
        "requested_at": deployment.requested_at,
        "finished_at": deployment.finished_at,
        "load_ms": deployment.load_ms,
        "swap_ms": deployment.swap_ms,
        "reason": deployment.reason,
        "converted": deployment.state is State.DONE and answers_converted(deployment),
        "native_because": deployment.native_because,
        "first_answer_at": deployment.first_answer_at,
        "first_prediction_id": deployment.first_prediction_id,
        "correlation_id": deployment.order.correlation_id,
        "cause_event": deployment.order.cause_event,
        "deployed_event": deployment.deployed_event,
    }
