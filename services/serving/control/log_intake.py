"""From the workers' socket to Kafka: records are published in order, then confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from headrace.events import PredictionLogged, ShadowCompared
from headrace.runtime.bus import Publisher
from headrace.runtime.telemetry import Log, Metrics
from services.serving.link.frames import Kind, frame, numbered

_WAITING: Final = 128
"""Records in memory; then the workers' sockets fill up and their own buffers take over."""
_AT_ONCE: Final = 32
_LONGEST_PAUSE: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Received:
    writer: asyncio.StreamWriter | None
    number: int
    record: PredictionLogged | ShadowCompared


class LogIntake:
    """Takes PredictionLogged records of all workers and publishes them."""

    def __init__(
        self,
        *,
        kafka: str,
        metrics: Metrics,
        log: Log,
        published: Callable[[PredictionLogged], None],
    ) -> None:
        """`published` is called with every record that Kafka has."""
        self._heard = published
        self._kafka = kafka
        self._log = log
        self._queue: asyncio.Queue[_Received] = asyncio.Queue(_WAITING)
        self._rows: Counter = metrics.counter(
            "prediction_log_published_rows", "Rows published to Kafka", "model", "version"
        )
        self._failed: Counter = metrics.counter(
            "prediction_log_published_failed_rows",
            "Rows published to Kafka of requests that the model failed on",
            "model",
            "version",
        )
        self._dropped: Counter = metrics.counter(
            "shadow_dropped_rows", "Rows that shadows compared and that were not published", "model"
        )

    async def add(self, writer: asyncio.StreamWriter, number: int, data: bytes) -> None:
        """Queue a record; waits while the queue is full. Raises ValueError if it is not one."""
        try:
            record = PredictionLogged.FromString(data)
        except DecodeError as error:
            raise ValueError("not a PredictionLogged") from error
        await self._queue.put(_Received(writer=writer, number=number, record=record))

    def add_shadows(self, data: bytes) -> None:
        """Queue what shadows did, or drop it: the log of answers comes first.

        Raises ValueError if it is not that.
        """
        try:
            record = ShadowCompared.FromString(data)
        except DecodeError as error:
            raise ValueError("not a ShadowCompared") from error
        if self._queue.qsize() < _WAITING // 2:
            self._queue.put_nowait(_Received(writer=None, number=0, record=record))
        else:
            self._dropped.labels(record.model).inc(len(record.prediction_ids))

    async def run(self) -> None:
        """Publish until cancelled, waiting out a broker that is away."""
        pause = 0.1
        while True:
            try:
                async with Publisher(kafka=self._kafka, source="/serving/log") as publisher:
                    pause = 0.1
                    await self._publish_all(publisher)
            except (KafkaError, OSError) as why:
                self._log.warning("prediction_log_not_published", reason=repr(why))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _publish_all(self, publisher: Publisher) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._publish(publisher, batch)

    async def _publish(self, publisher: Publisher, batch: list[_Received]) -> None:
        pause = 0.1
        while True:
            try:
                await publisher.emit_many([received.record for received in batch])
                break
            except (KafkaError, OSError) as why:
                # The batch stays in hand: nobody but the worker and we have its rows.
                self._log.warning("prediction_log_waits", reason=repr(why))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except ValueError as why:
                # A worker bounds its records below what Kafka takes; one that does not must not
                # keep the others from being published.
                batch = await self._without_refused(publisher, batch, why)
                break
        for received in batch:
            record = received.record
            if isinstance(record, ShadowCompared):
                continue
            self._heard(record)
            rows = self._failed if record.error else self._rows
            rows.labels(record.model, str(record.version)).inc(len(record.prediction_ids))
            if received.writer is not None and not received.writer.is_closing():
                received.writer.write(frame(Kind.PUBLISHED, numbered(received.number)))

    async def _without_refused(
        self, publisher: Publisher, batch: list[_Received], why: ValueError
    ) -> list[_Received]:
        """Publish what can be published of a batch, and say what cannot."""
        published = []
        for received in batch:
            try:
                await publisher.emit(received.record)
            except ValueError:
                rows = len(received.record.prediction_ids)
                self._log.error("predictions_not_published", rows=rows, reason=str(why))
            else:
                published.append(received)
        return published
