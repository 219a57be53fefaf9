"""`webhooks/*`: who is told of changes over HTTP. A secret goes in and never comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from headrace.errors import InvalidInput
from headrace.ids import new_id
from services.registry.api.context import Context
from services.registry.api.mlflow.arguments import Arguments
from services.registry.api.mlflow.errors import MlflowRoute
from services.registry.domain import search
from services.registry.domain import webhooks as rules
from services.registry.domain.deliveries import Answer, body_of, headers_of
from services.registry.domain.records import milliseconds
from services.registry.domain.webhooks import Announcement, Status, Webhook
from services.registry.store import webhooks


def router(context: Context, *, prefix: str) -> APIRouter:
    routes = APIRouter(
        prefix=f"{prefix}/webhooks", route_class=MlflowRoute, include_in_schema=False
    )
    _add_changes(routes, context)
    _add_reads(routes, context)
    _add_test(routes, context)
    return routes


def _add_changes(routes: APIRouter, context: Context) -> None:
    @routes.post("")
    async def create(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        now = context.now()
        webhook = Webhook(
            id=new_id(),
            project=context.project,
            name=rules.check_name(given.required("name")),
            url=rules.check_url(given.required("url"), allowed=context.sender.allowed),
            events=_events(given),
            description=rules.check_text("description", given.text("description")),
            secret=rules.check_text("secret", given.text("secret")),
            status=_status(given) or Status.ACTIVE,
            created_at=now,
            updated_at=now,
        )
        async with context.writing(request) as tx:
            await webhooks.create(tx.connection, webhook)
        return {"webhook": _document(webhook)}

    @routes.patch("/{webhook_id}")
    async def update(request: Request, webhook_id: str) -> dict[str, Any]:
        given = await Arguments.of(request)
        async with context.writing(request) as tx:
            webhook = await webhooks.get(
                tx.connection, project=context.project, webhook_id=webhook_id, lock=True
            )
            changed = _changed(webhook, given, context)
            await webhooks.change(tx.connection, changed)
        return {"webhook": _document(changed)}

    @routes.delete("/{webhook_id}")
    async def delete(request: Request, webhook_id: str) -> dict[str, Any]:
        async with context.writing(request) as tx:
            webhook = await webhooks.get(
                tx.connection, project=context.project, webhook_id=webhook_id, lock=True
            )
            await webhooks.delete(tx.connection, webhook=webhook, now=context.now())
        return {}


def _add_reads(routes: APIRouter, context: Context) -> None:
    @routes.get("")
    async def newest(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        limit = given.number("max_results", default=100, most=1000)
        offset = search.page_offset(given.text("page_token"))
        async with context.reading() as connection:
            found = await webhooks.newest(
                connection, project=context.project, limit=limit + 1, offset=offset
            )
        answer: dict[str, Any] = {}
        if found:
            answer["webhooks"] = [_document(webhook) for webhook in found[:limit]]
        if len(found) > limit:
            answer["next_page_token"] = search.page_token(offset + limit)
        return answer

    @routes.get("/{webhook_id}")
    async def get(webhook_id: str) -> dict[str, Any]:
        return {"webhook": _document(await _one(context, webhook_id))}


def _add_test(routes: APIRouter, context: Context) -> None:
    @routes.post("/{webhook_id}/test")
    async def test(request: Request, webhook_id: str) -> dict[str, Any]:
        """Send an example of one event, at once and once; it is no delivery."""
        given = await Arguments.of(request)
        webhook = await _one(context, webhook_id)
        asked = given.object("event")
        event = _event(asked) if asked is not None else webhook.events[0]
        now = context.now()
        body = body_of(Announcement(event=event, data=rules.EXAMPLES[event]), now=now)
        headers = headers_of(delivery_id=new_id(), body=body, secret=webhook.secret, now=now)
        answer = await context.sender.post(webhook.url, headers=headers, body=body)
        return {"result": _result(answer)}


async def _one(context: Context, webhook_id: str) -> Webhook:
    async with context.reading() as connection:
        return await webhooks.get(connection, project=context.project, webhook_id=webhook_id)


def _changed(webhook: Webhook, given: Arguments, context: Context) -> Webhook:
    changed = webhook
    if given.text("name"):
        changed = replace(changed, name=rules.check_name(given.text("name")))
    if given.text("url"):
        url = rules.check_url(given.text("url"), allowed=context.sender.allowed)
        changed = replace(changed, url=url)
    if given.objects("events"):
        changed = replace(changed, events=_events(given))
    if given.has("description"):
        text = rules.check_text("description", given.text("description"))
        changed = replace(changed, description=text)
    if given.has("secret"):
        changed = replace(changed, secret=rules.check_text("secret", given.text("secret")))
    return replace(changed, status=_status(given) or webhook.status, updated_at=context.now())


def _events(given: Arguments) -> tuple[str, ...]:
    events = tuple(dict.fromkeys(_event(event) for event in given.objects("events")))
    if not events:
        raise InvalidInput(
            "Webhook events must be a non-empty list of WebhookEvent objects: [].", field="events"
        )
    return events


def _event(event: Arguments) -> str:
    return rules.event_of(event.required("entity"), event.required("action"))


def _status(given: Arguments) -> Status | None:
    text = given.text("status")
    if not text:
        return None
    if text not in Status.__members__:
        raise InvalidInput(
            f"Invalid value \"{text}\" for parameter 'status' supplied: "
            f"expected one of {[status.value for status in Status]}",
            field="status",
        )
    return Status(text)


def _document(webhook: Webhook) -> dict[str, Any]:
    document: dict[str, Any] = {
        "webhook_id": webhook.id,
        "name": webhook.name,
        "url": webhook.url,
        "events": [_event_document(event) for event in webhook.events],
        "status": webhook.status.value,
        "creation_timestamp": milliseconds(webhook.created_at),
        "last_updated_timestamp": milliseconds(webhook.updated_at),
    }
    if webhook.description:
        document["description"] = webhook.description
    return document


def _event_document(event: str) -> dict[str, str]:
    entity, _, action = event.upper().partition(".")
    return {"entity": entity, "action": action}


def _result(answer: Answer) -> dict[str, Any]:
    document: dict[str, Any] = {"success": answer.accepted}
    if answer.status is not None:
        document["response_status"] = answer.status
        document["response_body"] = answer.body
    if answer.error is not None:
        document["error_message"] = f"Failed to test webhook: {answer.error}"
    return document
