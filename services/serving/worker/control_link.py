"""The worker's connection to the control process: assignments in, status out.

Without a control process the worker answers with what it has, at a start with what it last had,
and keeps trying to reconnect.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

from headrace.errors import Permanent
from headrace.runtime.telemetry import Log
from services.serving.domain.limits import Limits
from services.serving.link.frames import Kind, frame, read_frame
from services.serving.link.messages import (
    Assignment,
    FirstAnswered,
    Hello,
    ModelStatus,
    Status,
)
from services.serving.worker.last_assignment import LastAssignment
from services.serving.worker.loading import Outcome, make_so
from services.serving.worker.log_rules import Rules
from services.serving.worker.meters import Meters
from services.serving.worker.residency import Residency
from services.serving.worker.table import Entry, Serving

GONE: Final = (OSError, asyncio.IncompleteReadError, Permanent, ValueError)
"""What using a connection whose other end is away, or talks nonsense, raises.

Nonsense is also what a control process of a later release says that this worker does not know yet.
"""
_RETRY_SECONDS: Final = 0.1
_COUNTS_SECONDS: Final = 0.5


@asynccontextmanager
async def connected(
    socket: Path, *, worker: str, channel: Literal["control", "log", "shadow"]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which we have introduced ourselves. Raises OSError if nobody listens."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        hello = Hello(worker=worker, pid=os.getpid(), channel=channel)
        writer.write(frame(Kind.HELLO, hello.model_dump_json().encode()))
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()


async def pause_before_retry() -> None:
    """Between two attempts to connect."""
    await asyncio.sleep(_RETRY_SECONDS)


class ControlLink:
    """Makes this worker look like the newest assignment, and says what it looks like."""

    def __init__(
        self,
        *,
        socket: Path,
        worker: str,
        serving: Serving,
        limits: Limits,
        last: LastAssignment,
        recall_seconds: float,
        meters: Meters,
        log: Log,
        rules: Rules | None = None,
        residency: Residency | None = None,
    ) -> None:
        """`last` is asked when nobody has told an assignment after `recall_seconds`."""
        self._rules = rules or Rules()
        self._residency = residency
        self._socket = socket
        self._worker = worker
        self._serving = serving
        self._limits = limits
        self._last = last
        self._recall_seconds = recall_seconds
        self._meters = meters
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._newest: Assignment | None = None
        self._assigned = asyncio.Event()
        self._changed = asyncio.Event()
        self._outcome = Outcome(table=serving.table, loaded={})
        self._revision = 0
        self.applied = asyncio.Event()
        """Set once the first assignment is: from then on the table says what is served."""

    def status_changed(self) -> None:
        """Send the status soon; from any thread."""
        self._loop.call_soon_threadsafe(self._changed.set)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._apply())
            tasks.create_task(self._stay_connected())
            tasks.create_task(self._recall())
            tasks.create_task(self._tell_counts())

    async def _recall(self) -> None:
        """Answer as before when the control process does not come."""
        await asyncio.sleep(self._recall_seconds)
        if self._newest is None:
            recalled = await asyncio.to_thread(self._last.recall)
            if recalled is not None and self._newest is None:
                self._log.warning("answering_with_last_assignment", models=len(recalled.models))
                self._take(recalled)

    async def _tell_counts(self) -> None:
        """While a traffic table is in force, what its arms did is told every half second."""
        while True:
            await asyncio.sleep(_COUNTS_SECONDS)
            if any(entry.routes for entry in self._serving.table.entries.values()):
                self._changed.set()

    async def _stay_connected(self) -> None:
        while True:
            try:
                async with connected(self._socket, worker=self._worker, channel="control") as (
                    reader,
                    writer,
                ):
                    self._log.info("control_connected")
                    await self._talk(reader, writer)
            except GONE as why:
                if self._newest is not None:
                    self._log.warning("control_gone", reason=repr(why))
            await pause_before_retry()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._changed.set()
        telling = asyncio.create_task(self._tell(writer))
        try:
            while True:
                kind, payload = await read_frame(reader)
                if kind is Kind.ASSIGNMENT:
                    self._take(Assignment.model_validate_json(payload))
        finally:
            telling.cancel()

    def _take(self, assignment: Assignment) -> None:
        self._newest = assignment
        self._rules.replace(assignment.log_rules)
        self._assigned.set()

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            writer.write(frame(Kind.STATUS, self.status().model_dump_json().encode()))
            await writer.drain()

    async def _apply(self) -> None:
        """Work through assignments; those that a newer one overtook are skipped."""
        while True:
            await self._assigned.wait()
            self._assigned.clear()
            assignment = self._newest
            if assignment is None:
                continue
            outcome = await asyncio.to_thread(
                make_so,
                assignment,
                loaded=self._outcome.loaded,
                table=self._serving.table,
                limits=self._limits,
                residency=self._residency,
            )
            self._flip(assignment, outcome)
            self._changed.set()
            if assignment.revision:
                failed = {model for model, _ in outcome.failures}
                await asyncio.to_thread(self._last.keep, assignment, failed=failed)

    def _flip(self, assignment: Assignment, outcome: Outcome) -> None:
        self._outcome = outcome
        self._revision = assignment.revision
        self._serving.table = outcome.table
        wanted = {(model.name, model.champion) for model in assignment.models}
        if not wanted & set(outcome.failures):
            self._serving.loaded = True
        for (model, version), reason in outcome.failures.items():
            self._log.error("model_not_loaded", model=model, version=version, reason=reason)
        for name, entry in outcome.table.entries.items():
            if entry.champion is not None:
                self._meters.champion(name, entry.champion.model.version)
        self.applied.set()

    def status(self) -> Status:
        """What this worker looks like now."""
        return Status(
            worker=self._worker,
            revision=self._revision,
            models=[
                self._model_status(name, entry)
                for name, entry in self._serving.table.entries.items()
            ],
        )

    def _model_status(self, name: str, entry: Entry) -> ModelStatus:
        reign = entry.champion
        first = reign.first if reign else None
        return ModelStatus(
            name=name,
            champion=reign.model.version if reign else None,
            deployment=reign.deployment if reign else None,
            loaded=sorted(version for model, version, _ in self._outcome.loaded if model == name),
            failures={
                version: reason
                for (model, version), reason in self._outcome.failures.items()
                if model == name
            },
            first_answer=FirstAnswered(
                prediction_id=first.prediction_id, served_at_us=first.served_at_us
            )
            if first
            else None,
            table=entry.routes.assigned.table if entry.routes else None,
            arms=entry.routes.counts() if entry.routes else [],
        )
