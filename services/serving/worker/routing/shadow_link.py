"""Ships what shadows did to the control process; what cannot be shipped now is dropped."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from services.serving.link.frames import Kind, frame
from services.serving.worker.control_link import GONE, connected, pause_before_retry
from services.serving.worker.log_rules import Rules
from services.serving.worker.routing.shadows import Shadows, pack

_LINGER_SECONDS: Final = 0.2


class ShadowLink:
    """Drains `shadows` five times a second over a connection of its own."""

    def __init__(
        self, *, socket: Path, worker: str, project: str, shadows: Shadows, rules: Rules
    ) -> None:
        self._socket = socket
        self._worker = worker
        self._project = project
        self._shadows = shadows
        self._rules = rules

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with connected(self._socket, worker=self._worker, channel="shadow") as (
                    reader,
                    writer,
                ):
                    shipping = asyncio.create_task(self._ship(writer))
                    try:
                        # Nothing is said here: this ends when the control process does.
                        await reader.read()
                    finally:
                        shipping.cancel()
            except GONE:
                pass
            await pause_before_retry()

    async def _ship(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(_LINGER_SECONDS)
            records = pack(
                self._shadows.take(),
                project=self._project,
                now_us=time.time_ns() // 1000,
                dropped=self._shadows.dropped,
                failed=self._shadows.failed,
                rules=self._rules,
            )
            for record in records:
                writer.write(frame(Kind.SHADOW, record.SerializeToString()))
            await writer.drain()
