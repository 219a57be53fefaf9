"""Messages on their way to webhooks. Leases run by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from headrace.errors import NotFound
from headrace.runtime.db import Connection
from services.registry.domain.deliveries import Answer, Delivery, State
from services.registry.domain.webhooks import Webhook
from services.registry.store import webhooks

_COLUMNS = (
    "d.id as delivery_id, d.seq, d.webhook_id, d.event, d.body, d.state, d.attempts,"
    " d.response_status, d.error, d.created_at as told_at, d.give_up_at, d.attempted_at,"
    " d.finished_at"
)
_FROM = "from webhook_delivery d"
_HOLD = (
    "with held as (update webhook set leased_until = now() + $3"
    " where id = $1 and lease = $2 and status = 'ACTIVE' and deleted_at is null returning *)"
)
_HELD = "from held w join webhook_delivery d on d.webhook_id = w.id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to send to a webhook."""

    id: str
    webhook_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What is to be sent next, after so many failures in a row."""

    webhook: Webhook
    delivery: Delivery
    failures: int


async def add(
    connection: Connection,
    *,
    project: str,
    event: str,
    body: str,
    now: datetime,
    give_up_after: timedelta,
) -> None:
    """One delivery for each active webhook that asks for the event."""
    await connection.execute(
        "insert into webhook_delivery (id, project, webhook_id, event, body, created_at,"
        " give_up_at) select gen_random_uuid(), w.project, w.id, $2, $3, $4, $5 from webhook w"
        " where w.project = $1 and $2 = any(w.events) and w.status = 'ACTIVE'"
        " and w.deleted_at is null",
        project,
        event,
        body,
        now,
        now + give_up_after,
    )


async def claim(
    connection: Connection, *, project: str, limit: int, lease_for: timedelta
) -> Sequence[Lease]:
    """Lease webhooks that deliveries wait for, those without trouble first."""
    rows = await connection.fetch(
        "update webhook w set lease = gen_random_uuid(), leased_until = now() + $3"
        " from (select w.id from webhook w where w.project = $1 and w.status = 'ACTIVE'"
        "  and w.deleted_at is null and (w.rests_until is null or w.rests_until <= now())"
        "  and (w.leased_until is null or w.leased_until <= now())"
        "  and exists (select from webhook_delivery d"
        "   where d.webhook_id = w.id and d.state = 'waiting')"
        "  order by w.failures, w.rests_until nulls first limit $2 for update skip locked) due"
        " where w.id = due.id returning w.id, w.lease",
        project,
        limit,
        lease_for,
    )
    return [Lease(id=str(row["lease"]), webhook_id=str(row["id"])) for row in rows]


async def first_waiting(
    connection: Connection, *, lease: Lease, lease_for: timedelta
) -> Waiting | None:
    """What to send next, with the lease prolonged; None when nothing is, or the lease is lost."""
    row = await connection.fetchrow(
        f"{_HOLD} select {webhooks.COLUMNS}, w.failures, {_COLUMNS} {_HELD}"
        " where d.state = 'waiting' order by d.seq limit 1",
        lease.webhook_id,
        lease.id,
        lease_for,
    )
    if row is None:
        return None
    return Waiting(webhook=webhooks.read(row), delivery=_read(row), failures=row["failures"])


async def finish(
    connection: Connection, *, lease: Lease, delivery: Delivery, state: State, answer: Answer
) -> bool:
    """Write down an attempt that needs no other one; False when the lease is lost."""
    held = await connection.fetchval(
        "with held as (update webhook set failures = 0, rests_until = null"
        "  where id = $1 and lease = $2 returning id)"
        " update webhook_delivery d set state = $4, attempts = attempts + 1,"
        "  response_status = $5, error = $6, attempted_at = now(), finished_at = now()"
        " from held where d.id = $3 and d.state = 'waiting' returning true",
        lease.webhook_id,
        lease.id,
        delivery.id,
        state.value,
        answer.status,
        answer.reason,
    )
    return bool(held)


async def postpone(
    connection: Connection, *, lease: Lease, delivery: Delivery, answer: Answer, rest: timedelta
) -> None:
    """Write down a failure, rest the webhook, and give up whatever has waited too long for it."""
    await connection.execute(
        "with held as (update webhook set failures = failures + 1, rests_until = now() + $6,"
        "  lease = null, leased_until = null where id = $1 and lease = $2 returning id)"
        " update webhook_delivery d set attempts = attempts + 1, response_status = $4,"
        "  error = $5, attempted_at = now() from held where d.id = $3 and d.state = 'waiting'",
        lease.webhook_id,
        lease.id,
        delivery.id,
        answer.status,
        answer.reason,
        rest,
    )
    await connection.execute(
        "update webhook_delivery set state = 'dead', finished_at = now(),"
        " error = coalesce(error, $2) where webhook_id = $1 and state = 'waiting'"
        " and give_up_at <= now()",
        lease.webhook_id,
        answer.reason,
    )


async def release(connection: Connection, *, lease: Lease) -> None:
    """Give a lease back."""
    await connection.execute(
        "update webhook set lease = null, leased_until = null where id = $1 and lease = $2",
        lease.webhook_id,
        lease.id,
    )


async def newest(
    connection: Connection, *, webhook: Webhook, state: State | None, limit: int, offset: int
) -> Sequence[Delivery]:
    """Deliveries of a webhook, newest first."""
    rows = await connection.fetch(
        f"select {_COLUMNS} {_FROM} where d.webhook_id = $1"
        " and ($2::text is null or d.state = $2) order by d.seq desc limit $3 offset $4",
        webhook.id,
        state,
        limit,
        offset,
    )
    return [_read(row) for row in rows]


async def get(connection: Connection, *, webhook: Webhook, delivery_id: str) -> Delivery:
    """One delivery of a webhook. Raises NotFound."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} {_FROM} where d.webhook_id = $1 and d.id::text = lower($2)",
        webhook.id,
        delivery_id,
    )
    if row is None:
        raise NotFound(f"webhook {webhook.id} has no delivery {delivery_id}")
    return _read(row)


async def redeliver(
    connection: Connection,
    *,
    webhook: Webhook,
    delivery_id: str | None,
    now: datetime,
    give_up_after: timedelta,
) -> int:
    """Have one delivery sent again, or every dead one; returns how many. The webhook rests no more.

    They keep their ids and their places in the order.
    """
    await connection.execute(
        "update webhook set failures = 0, rests_until = null where id = $1", webhook.id
    )
    rows = await connection.fetch(
        "update webhook_delivery set state = 'waiting', finished_at = null, give_up_at = $4"
        " where webhook_id = $1 and (id = $2 or ($2 is null and state = $3)) returning id",
        webhook.id,
        delivery_id,
        State.DEAD.value,
        now + give_up_after,
    )
    return len(rows)


async def tidy(connection: Connection, *, project: str, before: datetime, limit: int) -> int:
    """Forget deliveries that ended before a time, at most `limit`; returns how many."""
    rows = await connection.fetch(
        "delete from webhook_delivery where id in (select id from webhook_delivery"
        " where project = $1 and state <> 'waiting' and finished_at < $2 limit $3) returning id",
        project,
        before,
        limit,
    )
    return len(rows)


def _read(row: asyncpg.Record) -> Delivery:
    return Delivery(
        id=str(row["delivery_id"]),
        webhook_id=str(row["webhook_id"]),
        event=row["event"],
        body=row["body"],
        state=State(row["state"]),
        attempts=row["attempts"],
        response_status=row["response_status"],
        error=row["error"],
        created_at=row["told_at"],
        give_up_at=row["give_up_at"],
        attempted_at=row["attempted_at"],
        finished_at=row["finished_at"],
    )
