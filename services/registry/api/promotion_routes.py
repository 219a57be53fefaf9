"""Governance: policies, promotion requests, approvals, rollback."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request as HttpRequest

from services.registry.api.bodies import (
    DecisionBody,
    Named,
    PolicyBody,
    PromotionBody,
    RollbackBody,
)
from services.registry.api.champions import roll_back
from services.registry.api.context import PREFIX, Context
from services.registry.api.documents import policy_answer, request_document
from services.registry.api.promotions import Asked, decide, request_promotion
from services.registry.domain.gate import Policy
from services.registry.domain.names import check_model_name, check_person
from services.registry.domain.promotions import State
from services.registry.store import promotions


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=PREFIX, tags=["promotions"])
    _add_policies(routes, context)
    _add_requests(routes, context)
    _add_decisions(routes, context)
    _add_rollback(routes, context)
    return routes


def _add_policies(routes: APIRouter, context: Context) -> None:
    @routes.get("/models/{name}/policy")
    async def policy(name: Named) -> dict[str, Any]:
        async with context.reading() as connection:
            found = await promotions.policy(connection, project=context.project, model=name)
        return {"model": name, **policy_answer(found)}

    @routes.put("/models/{name}/policy")
    async def set_policy(name: Named, body: PolicyBody, request: HttpRequest) -> dict[str, Any]:
        check_model_name(name)
        given = Policy(auto_promote=body.auto_promote, margins=body.margins, min_rows=body.min_rows)
        async with context.writing(request) as tx:
            await promotions.set_policy(
                tx.connection,
                project=context.project,
                model=name,
                policy=given,
                updated_by=body.updated_by,
                now=context.now(),
            )
        return {"model": name, **policy_answer(given)}


def _add_requests(routes: APIRouter, context: Context) -> None:
    @routes.post("/models/{name}/versions/{number}/promotion-requests")
    async def ask(
        name: Named, number: int, body: PromotionBody, request: HttpRequest
    ) -> dict[str, Any]:
        asked = Asked(
            model=name,
            version=number if 0 < number < 2**31 else -1,
            requested_by=check_person(body.requested_by, field="requested_by"),
            comment=body.comment,
            evidence=body.evidence,
        )
        async with context.writing(request) as tx:
            made = await request_promotion(
                tx, project=context.project, asked=asked, now=context.now()
            )
        return request_document(made)

    @routes.get("/promotion-requests")
    async def search(
        model: Named | None = None,
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        async with context.reading() as connection:
            found = await promotions.search(
                connection,
                project=context.project,
                model=model,
                state=state.value if state else None,
                limit=limit,
            )
        return {"promotion_requests": [request_document(made) for made in found]}

    @routes.get("/promotion-requests/{request_id}")
    async def one(request_id: Named) -> dict[str, Any]:
        async with context.reading() as connection:
            found = await promotions.get(connection, project=context.project, request_id=request_id)
        return request_document(found)


def _add_decisions(routes: APIRouter, context: Context) -> None:
    async def decided(
        request_id: Named, body: DecisionBody, request: HttpRequest, verdict: State
    ) -> dict[str, Any]:
        async with context.writing(request) as tx:
            made = await decide(
                tx,
                project=context.project,
                request_id=request_id,
                approver=check_person(body.approver, field="approver"),
                verdict=verdict,
                comment=body.comment,
                now=context.now(),
            )
        return request_document(made)

    @routes.post("/promotion-requests/{request_id}/approve")
    async def approve(
        request_id: Named, body: DecisionBody, request: HttpRequest
    ) -> dict[str, Any]:
        return await decided(request_id, body, request, State.APPROVED)

    @routes.post("/promotion-requests/{request_id}/reject")
    async def reject(request_id: Named, body: DecisionBody, request: HttpRequest) -> dict[str, Any]:
        return await decided(request_id, body, request, State.REJECTED)


def _add_rollback(routes: APIRouter, context: Context) -> None:
    @routes.post("/models/{name}/rollback")
    async def rollback(name: Named, body: RollbackBody, request: HttpRequest) -> dict[str, Any]:
        async with context.writing(request) as tx:
            step = await roll_back(
                tx,
                project=context.project,
                name=name,
                requested_by=check_person(body.requested_by, field="requested_by"),
                expected=body.from_version,
                now=context.now(),
            )
        return {
            "model": name,
            "alias": step.alias,
            "version": step.version,
            "previous_version": step.previous_version,
            "event_id": step.event_id,
            "correlation_id": step.correlation_id,
        }
