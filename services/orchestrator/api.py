"""HTTP of the orchestrator: runs, policies and epochs for people; the protocol for workers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from headrace.errors import NotFound
from headrace.events.base import Name
from headrace.ids import new_id
from headrace.runtime.bus import Caller
from headrace.runtime.service import Resources
from services.orchestrator import engine, retraining
from services.orchestrator.domain.policy import Policy
from services.orchestrator.protocol import Claim, Claimed, Completion, Heartbeat, Hello, Renewed
from services.orchestrator.settings import Settings
from services.orchestrator.store import epochs, models, runs, tasks
from services.orchestrator.work import Work

PREFIX = "/api/orchestrator/v1"
Limit = Annotated[int, Query(ge=1, le=1000)]
Id = Annotated[str, Path(min_length=1, max_length=250)]


class NewRun(BaseModel):
    """A run that somebody asks for; the same `pipeline_run_id` twice is one run."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Name
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=100)
    requested_by: Name
    model: Name | None = None
    pipeline_run_id: Name | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**32)


class NewPolicy(BaseModel):
    """How a model is to be retrained."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Name
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=100)
    cooldown_days: float = Field(default=28.0, ge=0, le=3650, description="Event time")
    enabled: bool = True


def router(resources: Resources[Settings], work: Work) -> APIRouter:
    """All routes."""
    routes = APIRouter(prefix=PREFIX)
    _add_runs(routes, resources)
    _add_policies(routes, resources)
    _add_worker_protocol(routes, work)
    return routes


def _add_runs(routes: APIRouter, resources: Resources[Settings]) -> None:
    project = resources.settings.project

    @routes.post("/runs")
    async def start(body: NewRun, request: Request) -> dict[str, Any]:
        caller = Caller.of(request.headers)
        asked = engine.RunRequest(
            project=project,
            pipeline=body.pipeline,
            parameters=body.parameters,
            requested_by=body.requested_by,
            model=body.model,
            pipeline_run_id=body.pipeline_run_id or new_id(),
            seed=body.seed,
            correlation_id=caller.correlation_id,
            causation_id=caller.causation_id,
        )
        async with resources.bus.transaction(caller) as tx:
            created = await engine.start_run(tx, asked)
            document = await runs.run_document(
                tx.connection, project=project, run_id=asked.pipeline_run_id
            )
        return {**(document or {}), "created": created}

    @routes.get("/runs")
    async def list_runs(
        model: str | None = None, state: str | None = None, limit: Limit = 100
    ) -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            found = await runs.recent_runs(
                connection, project=project, model=model, state=state, limit=limit
            )
        return {"runs": found}

    @routes.get("/runs/{run_id}")
    async def run(run_id: Id) -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            document = await runs.run_document(connection, project=project, run_id=run_id)
            if document is None:
                raise NotFound(f"no run {run_id}")
            document["attempts"] = await tasks.attempts(connection, project=project, run_id=run_id)
        return document

    @routes.post("/runs/{run_id}/cancel")
    async def cancel(run_id: Id, request: Request) -> dict[str, Any]:
        async with resources.bus.transaction(Caller.of(request.headers)) as tx:
            cancelled = await engine.cancel(
                tx, project=project, run_id=run_id, reason="cancelled on request"
            )
            if cancelled is not None:
                await retraining.on_run_finished(tx, cancelled)
        return {"pipeline_run_id": run_id, "cancelled": cancelled is not None}

    @routes.get("/pipelines")
    async def pipelines() -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            return {"pipelines": await runs.pipelines(connection, project=project)}

    @routes.get("/workers")
    async def workers() -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            return {"workers": await runs.workers(connection, project=project)}


def _add_policies(routes: APIRouter, resources: Resources[Settings]) -> None:
    project = resources.settings.project

    @routes.get("/policies")
    async def policies() -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            return {"policies": await models.policies(connection, project=project)}

    @routes.get("/policies/{model}")
    async def policy(model: Id) -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            found = await models.policy(connection, project=project, model=model)
        if found is None:
            raise NotFound(f"model {model} has no retrain policy")
        return _policy_document(model, found)

    @routes.put("/policies/{model}")
    async def put_policy(model: Id, body: NewPolicy) -> dict[str, Any]:
        new = Policy(**body.model_dump())
        async with resources.bus.transaction() as tx:
            await models.put_policy(tx.connection, project=project, model=model, policy=new)
        return _policy_document(model, new)

    @routes.get("/epochs")
    async def list_epochs(
        model: str | None = None,
        state: Literal["open", "closed"] | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            found = await epochs.epochs(
                connection, project=project, model=model, state=state, limit=limit
            )
        return {"epochs": found}

    @routes.get("/decisions")
    async def decisions(model: str | None = None, limit: Limit = 100) -> dict[str, Any]:
        async with resources.pool.acquire() as connection:
            found = await epochs.decisions(connection, project=project, model=model, limit=limit)
        return {"decisions": found}


def _add_worker_protocol(routes: APIRouter, work: Work) -> None:
    @routes.post("/worker/hello")
    async def hello(body: Hello, request: Request) -> dict[str, Any]:
        await work.hello(body, Caller.of(request.headers))
        return {"lease_seconds": work.lease_seconds}

    @routes.post("/worker/claim")
    async def claim(body: Claim, request: Request) -> Claimed:
        caller = Caller.of(request.headers)
        assignment = await work.claim(body, caller, gone=request.is_disconnected)
        return Claimed(assignment=assignment)

    @routes.post("/worker/heartbeat")
    async def heartbeat(body: Heartbeat, request: Request) -> Renewed:
        return Renewed(fences=await work.heartbeat(body, Caller.of(request.headers)))

    @routes.post("/worker/complete")
    async def complete(body: Completion, request: Request) -> dict[str, Any]:
        await work.complete(body, Caller.of(request.headers))
        return {"accepted": True}


def _policy_document(model: str, policy: Policy) -> dict[str, Any]:
    return {
        "model": model,
        "pipeline": policy.pipeline,
        "parameters": dict(policy.parameters),
        "cooldown_days": policy.cooldown_days,
        "enabled": policy.enabled,
    }
