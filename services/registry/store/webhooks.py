"""Webhooks as rows; a deleted one stays for the history of its deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from headrace.errors import NotFound
from headrace.runtime.db import Connection
from services.registry.domain.webhooks import Status, Webhook

COLUMNS = (
    "w.id, w.project, w.name, w.url, w.events, w.description, w.secret, w.status,"
    " w.created_at, w.updated_at"
)
FROM = "from webhook w"


async def create(connection: Connection, webhook: Webhook) -> None:
    """Store a new webhook."""
    await connection.execute(
        "insert into webhook (id, project, name, url, events, description, secret, status,"
        " created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        webhook.id,
        webhook.project,
        webhook.name,
        webhook.url,
        list(webhook.events),
        webhook.description,
        webhook.secret,
        webhook.status.value,
        webhook.created_at,
        webhook.updated_at,
    )


async def get(
    connection: Connection, *, project: str, webhook_id: str, lock: bool = False
) -> Webhook:
    """A living webhook, kept from changes by others if told to. Raises NotFound."""
    row = await connection.fetchrow(
        f"select {COLUMNS} {FROM} where w.project = $1 and w.id::text = lower($2)"
        f" and w.deleted_at is null{' for update' if lock else ''}",
        project,
        webhook_id,
    )
    if row is None:
        raise NotFound(f"Webhook with ID {webhook_id} not found.")
    return read(row)


async def newest(
    connection: Connection, *, project: str, limit: int, offset: int
) -> Sequence[Webhook]:
    """Living webhooks, newest first."""
    rows = await connection.fetch(
        f"select {COLUMNS} {FROM} where w.project = $1 and w.deleted_at is null"
        " order by w.created_at desc, w.id limit $2 offset $3",
        project,
        limit,
        offset,
    )
    return [read(row) for row in rows]


async def change(connection: Connection, webhook: Webhook) -> None:
    """Write what may change of a webhook. It is tried at once: what ailed it may be mended."""
    await connection.execute(
        "update webhook set name = $2, url = $3, events = $4, description = $5, secret = $6,"
        " status = $7, updated_at = $8, failures = 0, rests_until = null where id = $1",
        webhook.id,
        webhook.name,
        webhook.url,
        list(webhook.events),
        webhook.description,
        webhook.secret,
        webhook.status.value,
        webhook.updated_at,
    )


async def delete(connection: Connection, *, webhook: Webhook, now: datetime) -> None:
    """Hide a webhook, forget its secret, and send nothing more of what waits for it."""
    await connection.execute(
        "update webhook set deleted_at = $2, updated_at = $2, secret = null where id = $1",
        webhook.id,
        now,
    )
    await connection.execute(
        "update webhook_delivery set state = 'dead', finished_at = $2,"
        " error = 'the webhook was deleted' where webhook_id = $1 and state = 'waiting'",
        webhook.id,
        now,
    )


def read(row: asyncpg.Record) -> Webhook:
    """A row of COLUMNS."""
    return Webhook(
        id=str(row["id"]),
        project=row["project"],
        name=row["name"],
        url=row["url"],
        events=tuple(row["events"]),
        description=row["description"],
        secret=row["secret"],
        status=Status(row["status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
