"""The relay: one leader per service publishes the outbox, each key in the order of its commits.

What a batch holds and the numbers of its rows are written down before it is published, and
forgotten after it is acknowledged, so a crash at any point sends the same events under the same
numbers again. The next small batch forms while one is under way; a backlog is sent in several
batches at once.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

import asyncpg

from headrace.runtime.bus import failpoints
from headrace.runtime.bus.pipeline import Pipeline, by_topic
from headrace.runtime.bus.ports import BACKEND_TROUBLE, Broker, Database, RelayBatch, RelaySession
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import Tracer

_BATCH: Final = 1000
_HEARTBEAT_SECONDS: Final = 0.3
_MEASURE_SECONDS: Final = 1.0
_SUCCESSION_SECONDS: Final = 0.2
_TROUBLE: Final = (*BACKEND_TROUBLE, asyncpg.PostgresError, ValueError)


class Relay:
    """Publishes what transactions left in the outbox; `wake` after a commit makes it prompt."""

    def __init__(
        self,
        *,
        service: str,
        database: Database,
        broker: Broker,
        clock: Clock,
        metrics: Metrics,
        tracer: Tracer,
        log: Log,
    ) -> None:
        self._service = service
        self._database = database
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._log = log
        self._woken = asyncio.Event()
        self._stopping = False
        self._pipeline: Pipeline | None = None
        self._troubled_since: float | None = None
        self._turned_at: float | None = None
        self._measured_at = 0.0

    @property
    def leading(self) -> bool:
        """Whether this process publishes for its service."""
        return self._pipeline is not None

    @property
    def stuck_seconds(self) -> float:
        """How long nothing could be published; 0 while publishing works."""
        since = [self._troubled_since]
        if self._pipeline is not None:
            since += [self._turned_at, self._pipeline.oldest]
        now = asyncio.get_running_loop().time()
        return max((now - moment for moment in since if moment is not None), default=0.0)

    def wake(self) -> None:
        """Something was committed to the outbox."""
        self._woken.set()

    def finish(self) -> None:
        """Let `run` return once the outbox is empty."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Publish until `finish`, or until cancelled; back-end trouble is waited out."""
        while True:
            try:
                await self._serve_once()
            except _TROUBLE as why:
                self._log.warning("relay_interrupted", reason=repr(why))
                if self._troubled_since is None:
                    self._troubled_since = asyncio.get_running_loop().time()
                await asyncio.sleep(_SUCCESSION_SECONDS)
            else:
                return

    async def _serve_once(self) -> None:
        """Wait for the lead, then publish; a producer that met an error is not used again."""
        async with (
            self._broker.sender() as sender,
            self._database.relay_session(self.wake) as session,
        ):
            while not await session.lead():
                self._troubled_since = None
                if self._stopping:
                    return
                await asyncio.sleep(_SUCCESSION_SECONDS)
            source = f"/{self._service}/{await session.incarnation()}"
            self._turned_at = asyncio.get_running_loop().time()
            self._pipeline = Pipeline(sender=sender, source=source, tracer=self._tracer)
            self._metrics.leading.set(1)
            try:
                await self._lead(session, self._pipeline)
            finally:
                await self._pipeline.abandon()
                self._pipeline = None
                self._metrics.leading.set(0)

    async def _lead(self, session: RelaySession, pipeline: Pipeline) -> None:
        for left in await session.unfinished():
            await pipeline.begin(left)
        while True:
            self._woken.clear()
            batch = await self._turn(session, pipeline)
            if batch is None and pipeline.empty:
                self._troubled_since = None
                if self._stopping:
                    return
            await self._measure(session)
            if batch is None or pipeline.full or len(batch.rows) < _BATCH:
                await self._wait(pipeline)

    async def _turn(self, session: RelaySession, pipeline: Pipeline) -> RelayBatch | None:
        """Forget what was acknowledged and begin the next batch, if there is room for it."""
        finished = pipeline.take_finished()
        if finished:
            self._troubled_since = None
            failpoints.reach("after_publish")
            self._metrics.operation.labels("relay").observe(pipeline.last_seconds)
            for topic, count in by_topic(finished).items():
                self._metrics.sent.labels(topic).inc(count)
        batch = await session.turn(finished, limit=0 if pipeline.full else _BATCH)
        self._turned_at = asyncio.get_running_loop().time()
        if batch is not None:
            failpoints.reach("before_publish")
            await pipeline.begin(batch)
        return batch

    async def _wait(self, pipeline: Pipeline) -> None:
        """Until the oldest batch is acknowledged; with none under way, until there is a commit."""
        if not pipeline.empty:
            await pipeline.wait(seconds=_HEARTBEAT_SECONDS)
            return
        try:
            await asyncio.wait_for(self._woken.wait(), _HEARTBEAT_SECONDS)
        except TimeoutError:
            return

    async def _measure(self, session: RelaySession) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._measured_at < _MEASURE_SECONDS:
            return
        self._measured_at = now
        pending, oldest = await session.backlog()
        self._metrics.outbox_pending.set(pending)
        self._metrics.outbox_oldest.set(self._age(oldest))

    def _age(self, moment: datetime | None) -> float:
        return (self._clock.now() - moment).total_seconds() if moment else 0.0
