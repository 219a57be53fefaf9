"""The worker's end of the connection to the control process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace.runtime.telemetry import Metrics, configure_logs
from services.serving.domain.limits import DEFAULT_LIMITS
from services.serving.link.frames import Kind, frame
from services.serving.link.messages import Assignment, ModelAssignment
from services.serving.worker.control_link import ControlLink
from services.serving.worker.last_assignment import LastAssignment
from services.serving.worker.meters import Meters
from services.serving.worker.table import Serving
from tests.harness.bus import until

NOT_KNOWN_YET = b'{"revision": 1, "models": [{"name": "m", "versions": [{"format": "quantum"}]}]}'


def _link(directory: Path) -> ControlLink:
    log = configure_logs(service="test", level="critical")
    return ControlLink(
        socket=directory / "control.sock",
        worker="w",
        serving=Serving(),
        limits=DEFAULT_LIMITS,
        last=LastAssignment(directory=directory, log=log),
        recall_seconds=60,
        meters=Meters(Metrics()),
        log=log,
    )


async def test_assignment_that_is_not_understood_does_not_end_the_worker(tmp_path: Path) -> None:
    known = Assignment(revision=2, models=[ModelAssignment(name="m", unloaded="unloaded")])
    told = [NOT_KNOWN_YET, known.model_dump_json().encode()]

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(Kind.ASSIGNMENT, told.pop(0)))
        while await reader.read(1024):
            pass
        writer.close()
        await writer.wait_closed()
        left.append(None)

    left: list[None] = []
    link = _link(tmp_path)
    server = await asyncio.start_unix_server(tell, tmp_path / "control.sock")
    async with server:
        running = asyncio.create_task(link.run())
        applied = asyncio.create_task(link.applied.wait())
        await asyncio.wait({running, applied}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert applied.done()
        assert link.status().revision == 2
        running.cancel()
        await asyncio.wait({running})
        await until(lambda: len(left) == 2, seconds=20, what="both connections ended")
