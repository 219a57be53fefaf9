"""Takes written deliveries to their receivers: for each webhook in order, webhooks side by side.

A delivery is done when its receiver accepts it, dead when the receiver refuses it or it has failed
for `GIVE_UP_AFTER`. Other failures rest the webhook, longer each time. A process that dies with a
delivery in hand leaves a lease that runs out; the delivery is sent again then, under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from random import Random
from typing import Final

import asyncpg
from prometheus_client import Counter

from headrace.runtime.clock import Clock
from headrace.runtime.db import DATABASE_TROUBLE
from headrace.runtime.telemetry import Log, Metrics
from services.registry.domain.deliveries import Answer, Delivery, State, headers_of, rest_after
from services.registry.domain.webhooks import Webhook
from services.registry.store import deliveries
from services.registry.store.deliveries import Lease, Waiting
from services.registry.webhooks.sender import Sender

_PARALLEL: Final = 16
_LOOK_SECONDS: Final = 1.0
_BREATH_SECONDS: Final = 0.02
_TIDY_SECONDS: Final = 600.0
_TIDY_ROWS: Final = 5000
_GRACE: Final = timedelta(seconds=5)


class Deliverer:
    """Sends what waits until it is cancelled; `wake` says that something was committed."""

    def __init__(
        self,
        *,
        project: str,
        pool: asyncpg.Pool,
        sender: Sender,
        wake: asyncio.Event,
        keep: timedelta,
        clock: Clock,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._project = project
        self._pool = pool
        self._sender = sender
        self._wake = wake
        self._keep = keep
        self._clock = clock
        self._log = log
        self._random = Random()  # noqa: S311 - back-off, not secrets
        self._lease_for = timedelta(seconds=sender.seconds) + _GRACE
        self._sending: set[asyncio.Task[None]] = set()
        self._attempts = Counter(
            "headrace_webhook_attempts_total",
            "Attempts to deliver to a webhook, by what came of them",
            ["outcome"],
            registry=metrics.registry,
        )

    async def run(self) -> None:
        """Deliver and tidy up until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tidy(), name="webhook deliveries: tidy")
            while True:
                found = await self._claimed()
                for lease in found:
                    task = group.create_task(self._serve(lease), name="webhook delivery")
                    self._sending.add(task)
                    task.add_done_callback(self._ended)
                await self._rest(found_something=bool(found))

    async def _claimed(self) -> list[Lease]:
        free = _PARALLEL - len(self._sending)
        if not free:
            return []
        try:
            async with self._pool.acquire() as connection:
                return list(
                    await deliveries.claim(
                        connection, project=self._project, limit=free, lease_for=self._lease_for
                    )
                )
        except DATABASE_TROUBLE as why:
            self._log.warning("webhooks_not_claimed", reason=repr(why))
            await asyncio.sleep(_LOOK_SECONDS)
            return []

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._wake.set()

    async def _rest(self, *, found_something: bool) -> None:
        """Until something is committed or ends; many commits together cost one look."""
        if not found_something:
            await asyncio.sleep(_BREATH_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._wake.wait()
        self._wake.clear()

    async def _serve(self, lease: Lease) -> None:
        """Send to one webhook in order, until nothing waits or an attempt fails."""
        try:
            while await self._send_next(lease):
                pass
        except DATABASE_TROUBLE as why:
            self._log.warning("webhook_delivery_interrupted", reason=repr(why))
        except Exception:
            self._log.exception("webhook_delivery_failed", webhook=lease.webhook_id)
        finally:
            with contextlib.suppress(*DATABASE_TROUBLE):
                async with self._pool.acquire() as connection:
                    await deliveries.release(connection, lease=lease)

    async def _send_next(self, lease: Lease) -> bool:
        """Whether to go on."""
        async with self._pool.acquire() as connection:
            found = await deliveries.first_waiting(
                connection, lease=lease, lease_for=self._lease_for
            )
        if found is None:
            return False
        delivery = found.delivery
        answer = await self._attempt(found.webhook, delivery)
        if answer.accepted:
            return await self._finish(lease, delivery, State.DELIVERED, answer)
        self._log.warning(
            "webhook_attempt_failed",
            webhook=lease.webhook_id,
            delivery=delivery.id,
            attempt=delivery.attempts + 1,
            reason=answer.reason,
        )
        if answer.refused:
            return await self._finish(lease, delivery, State.DEAD, answer)
        await self._postpone(lease, found, answer)
        return False

    async def _attempt(self, webhook: Webhook, delivery: Delivery) -> Answer:
        headers = headers_of(
            delivery_id=delivery.id,
            body=delivery.body,
            secret=webhook.secret,
            now=self._clock.now(),
        )
        return await self._sender.post(webhook.url, headers=headers, body=delivery.body)

    async def _finish(self, lease: Lease, delivery: Delivery, state: State, answer: Answer) -> bool:
        self._attempts.labels("accepted" if answer.accepted else "refused").inc()
        async with self._pool.acquire() as connection:
            return await deliveries.finish(
                connection, lease=lease, delivery=delivery, state=state, answer=answer
            )

    async def _postpone(self, lease: Lease, waiting: Waiting, answer: Answer) -> None:
        self._attempts.labels("failed").inc()
        rest = rest_after(waiting.failures, answer, random=self._random)
        async with self._pool.acquire() as connection, connection.transaction():
            await deliveries.postpone(
                connection, lease=lease, delivery=waiting.delivery, answer=answer, rest=rest
            )

    async def _tidy(self) -> None:
        while True:
            try:
                before = self._clock.now() - self._keep
                async with self._pool.acquire() as connection:
                    await deliveries.tidy(
                        connection, project=self._project, before=before, limit=_TIDY_ROWS
                    )
            except DATABASE_TROUBLE as why:
                self._log.warning("webhook_deliveries_not_tidied", reason=repr(why))
            await asyncio.sleep(_TIDY_SECONDS)
