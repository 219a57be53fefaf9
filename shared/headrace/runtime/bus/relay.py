"""The relay: one leader per service publishes the outbox in order.

Every statement runs on the session that holds the advisory lock: once that session is gone,
nothing more can be written down, so no number is ever given to two events. A leader that is
stopped loses its session by PostgreSQL's idle timeout and is succeeded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError

from headrace.client.records import Record, RecordSender, durable_producer
from headrace.events.envelope import SPEC_VERSION
from headrace.runtime import db
from headrace.runtime.bus import outbox
from headrace.runtime.telemetry import Log, Metrics

_BATCH: Final = 2000
_POLL_SECONDS: Final = 0.5
_IDLE_TIMEOUT_MS: Final = 2000
_SUCCESSION_SECONDS: Final = 0.5
_TROUBLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    KafkaError,
    ValueError,
)


class Relay:
    """Publishes what transactions left in the outbox; `wake` after a commit makes it prompt."""

    def __init__(
        self, *, service: str, database_url: str, kafka: str, metrics: Metrics, log: Log
    ) -> None:
        self._service = service
        self._database_url = database_url
        self._kafka = kafka
        self._metrics = metrics
        self._log = log
        self._woken = asyncio.Event()
        self._stopping = False
        self._troubled_since: float | None = None

    @property
    def stuck_seconds(self) -> float:
        """How long nothing could be published; 0 while publishing works."""
        if self._troubled_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._troubled_since

    def wake(self) -> None:
        """Something was committed to the outbox."""
        self._woken.set()

    async def run(self) -> None:
        """Publish until `finish`, or until cancelled; back-end trouble is waited out.

        A producer that met an error is not used again: its idempotence state may be lost.
        """
        while True:
            producer = durable_producer(self._kafka, client_id=f"headrace-{self._service}-relay")
            try:
                await producer.start()
                await self._lead(RecordSender(producer))
            except _TROUBLE as why:
                self._log.warning("relay_interrupted", reason=repr(why))
                if self._troubled_since is None:
                    self._troubled_since = asyncio.get_running_loop().time()
                await asyncio.sleep(_SUCCESSION_SECONDS)
            else:
                return
            finally:
                await producer.stop()

    def finish(self) -> None:
        """Let `run` return once the outbox is empty."""
        self._stopping = True
        self._woken.set()

    async def _lead(self, sender: RecordSender) -> None:
        session = await db.connect(
            self._database_url,
            schema=self._service,
            idle_session_timeout=str(_IDLE_TIMEOUT_MS),
        )
        try:
            while not await session.fetchval(
                "select pg_try_advisory_lock(hashtext($1))", f"relay:{self._service}"
            ):
                if self._stopping:
                    return
                await asyncio.sleep(_SUCCESSION_SECONDS)
            source = f"/{self._service}/{await outbox.incarnation(session)}"
            await self._publish_while_leading(session, sender, source)
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await session.close(timeout=2)

    async def _publish_while_leading(
        self, session: asyncpg.Connection, sender: RecordSender, source: str
    ) -> None:
        while True:
            self._woken.clear()
            batch = await outbox.take_batch(session, limit=_BATCH)
            if batch:
                await _with_heartbeat(session, sender.send([_record(source, row) for row in batch]))
                await outbox.finish_batch(session)
                for row in batch:
                    self._metrics.sent.labels(row.topic).inc()
            self._troubled_since = None
            if batch:
                continue
            if self._stopping:
                return
            await self._measure(session)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _POLL_SECONDS)

    async def _measure(self, session: asyncpg.Connection) -> None:
        pending, oldest = await outbox.backlog(session)
        self._metrics.outbox_pending.set(pending)
        age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        self._metrics.outbox_oldest.set(age)


def _record(source: str, row: outbox.Stored) -> Record:
    headers = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": row.id,
        "ce_source": source,
        "ce_type": row.type,
        "ce_partitionkey": row.key,
        "ce_sequence": f"{row.number:020d}",
        **row.headers,
    }
    return Record(
        topic=row.topic,
        key=row.key.encode(),
        value=row.payload,
        headers=[(name, text.encode()) for name, text in headers.items()],
    )


async def _with_heartbeat(session: asyncpg.Connection, sending: Awaitable[None]) -> None:
    """Await the acknowledgements without letting the session look idle."""
    task = asyncio.ensure_future(sending)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_POLL_SECONDS)
            if done:
                break
            await session.execute("select 1")
    except BaseException:
        task.cancel()
        raise
    await task
