"""Governance: what was sent to webhooks, what failed and why, and sending it again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from services.registry.api.bodies import Named
from services.registry.api.context import PREFIX, Context
from services.registry.domain.deliveries import GIVE_UP_AFTER, Delivery, State
from services.registry.domain.webhooks import Webhook
from services.registry.store import deliveries, webhooks

Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1)]


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=f"{PREFIX}/webhooks", tags=["webhooks"])
    _add_reads(routes, context)
    _add_redelivery(routes, context)
    return routes


def _add_reads(routes: APIRouter, context: Context) -> None:
    @routes.get("/{webhook_id}/deliveries")
    async def newest(
        webhook_id: Named, state: State | None = None, limit: Limit = 100, offset: Offset = 0
    ) -> dict[str, Any]:
        async with context.reading() as connection:
            webhook = await webhooks.get(connection, project=context.project, webhook_id=webhook_id)
            found = await deliveries.newest(
                connection, webhook=webhook, state=state, limit=limit, offset=offset
            )
        return {"webhook_id": webhook.id, "deliveries": [_document(one) for one in found]}

    @routes.get("/{webhook_id}/deliveries/{delivery_id}")
    async def one(webhook_id: Named, delivery_id: Named) -> dict[str, Any]:
        async with context.reading() as connection:
            webhook = await webhooks.get(connection, project=context.project, webhook_id=webhook_id)
            found = await deliveries.get(connection, webhook=webhook, delivery_id=delivery_id)
        return {**_document(found), "body": found.body}


def _add_redelivery(routes: APIRouter, context: Context) -> None:
    async def again(request: Request, webhook_id: str, delivery_id: str | None) -> int:
        async with context.writing(request) as tx:
            webhook: Webhook = await webhooks.get(
                tx.connection, project=context.project, webhook_id=webhook_id, lock=True
            )
            if delivery_id is not None:
                found = await deliveries.get(
                    tx.connection, webhook=webhook, delivery_id=delivery_id
                )
                delivery_id = found.id
            return await deliveries.redeliver(
                tx.connection,
                webhook=webhook,
                delivery_id=delivery_id,
                now=context.now(),
                give_up_after=GIVE_UP_AFTER,
            )

    @routes.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
    async def redeliver(request: Request, webhook_id: Named, delivery_id: Named) -> dict[str, int]:
        """Send one delivery again, whatever became of it."""
        return {"redelivered": await again(request, webhook_id, delivery_id)}

    @routes.post("/{webhook_id}/redeliver")
    async def redeliver_dead(request: Request, webhook_id: Named) -> dict[str, int]:
        """Send every dead delivery of a webhook again, in order."""
        return {"redelivered": await again(request, webhook_id, None)}


def _document(delivery: Delivery) -> dict[str, Any]:
    return {
        "delivery_id": delivery.id,
        "event": delivery.event,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "response_status": delivery.response_status,
        "last_error": delivery.error,
        "created_at": _time(delivery.created_at),
        "attempted_at": _time(delivery.attempted_at),
        "finished_at": _time(delivery.finished_at),
        "give_up_at": _time(delivery.give_up_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
