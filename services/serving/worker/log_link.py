"""Ships the prediction log to the control process, in order, each record until it is published.

A record that was sent when the control process died is sent again to the next one, so the log is
at least once: a prediction id may come twice, and none is lost that the buffer could hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from pathlib import Path
from typing import Final

from headrace.runtime.telemetry import Log
from services.serving.link.frames import Kind, frame, numbered, read_frame, split_numbered
from services.serving.worker.batches import Batch, pack
from services.serving.worker.control_link import GONE, connected, pause_before_retry
from services.serving.worker.meters import Meters
from services.serving.worker.prediction_log import PredictionLog

_WINDOW: Final = 64
"""Records in flight; more wait in the buffer."""


class LogLink:
    """Drains a PredictionLog every `linger_ms`, or sooner when `wake` is called."""

    def __init__(
        self, *, socket: Path, worker: str, project: str, linger_ms: int, meters: Meters, log: Log
    ) -> None:
        self._socket = socket
        self._worker = worker
        self._project = project
        self._linger = linger_ms / 1000
        self._meters = meters
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._full = asyncio.Event()
        self._number = 0
        self._unpublished: deque[tuple[int, Batch]] = deque()
        self._moved = asyncio.Event()
        self._published_some = asyncio.Event()

    def wake(self) -> None:
        """Ship now; from any thread."""
        self._loop.call_soon_threadsafe(self._full.set)

    async def run(self, predictions: PredictionLog) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pack(predictions))
            tasks.create_task(self._stay_connected(predictions))

    async def flush(self, predictions: PredictionLog, *, seconds: float) -> None:
        """Wait until everything is published, at most so long; `run` must be running."""
        self._full.set()
        self._published_some.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while predictions.held_rows:
                    await self._published_some.wait()
                    self._published_some.clear()
        if predictions.held_rows:
            self._log.error("prediction_log_lost", rows=predictions.held_rows)

    async def _pack(self, predictions: PredictionLog) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: that of Python 3.11 may swallow a cancellation.
                async with asyncio.timeout(self._linger):
                    await self._full.wait()
            self._full.clear()
            if len(self._unpublished) < _WINDOW:
                self._pack_once(predictions)
            self._meters.log(
                dropped=predictions.dropped_rows,
                held=predictions.held_rows,
                logged=predictions.logged_rows,
                sampled_out=sum(predictions.sampled_out.values()),
            )

    def _pack_once(self, predictions: PredictionLog) -> None:
        entries = predictions.take()
        if not entries:
            return
        shipment = pack(
            entries,
            project=self._project,
            now_us=time.time_ns() // 1000,
            dropped_rows=predictions.dropped_rows,
            rules=predictions.rules,
            sampled_out=dict(predictions.sampled_out),
        )
        if shipment.lost_rows:
            predictions.release(
                rows=shipment.lost_rows, size=shipment.lost_bytes, dropped=shipment.lost_rows
            )
            self._log.error("predictions_too_large_to_log", rows=shipment.lost_rows)
        for batch in shipment.batches:
            self._number += 1
            self._unpublished.append((self._number, batch))
        self._moved.set()

    async def _stay_connected(self, predictions: PredictionLog) -> None:
        while True:
            try:
                async with connected(self._socket, worker=self._worker, channel="log") as (
                    reader,
                    writer,
                ):
                    await self._ship(reader, writer, predictions)
            except GONE:
                pass
            await pause_before_retry()

    async def _ship(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        predictions: PredictionLog,
    ) -> None:
        sending = asyncio.create_task(self._send(writer))
        try:
            while True:
                kind, payload = await read_frame(reader)
                if kind is Kind.PUBLISHED:
                    self._published(split_numbered(payload)[0], predictions)
        finally:
            sending.cancel()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while True:
            self._moved.clear()
            for number, batch in list(self._unpublished):
                if number > sent:
                    writer.write(frame(Kind.LOG, numbered(number, batch.data)))
                    await writer.drain()
                    sent = number
            await self._moved.wait()

    def _published(self, through: int, predictions: PredictionLog) -> None:
        while self._unpublished and self._unpublished[0][0] <= through:
            _, batch = self._unpublished.popleft()
            predictions.release(rows=batch.rows, size=batch.size)
        self._published_some.set()
