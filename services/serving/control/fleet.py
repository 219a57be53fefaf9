"""The connected workers: each is told the whole assignment, each tells its whole status."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from pydantic import ValidationError

from headrace.errors import Permanent
from headrace.runtime.telemetry import Log
from services.serving.control.log_intake import LogIntake
from services.serving.link.frames import Kind, frame, read_frame, split_numbered
from services.serving.link.messages import (
    Assignment,
    Hello,
    LogRules,
    ModelAnswer,
    ModelAssignment,
    ModelRequest,
    ModelStatus,
    Status,
)

_PATIENCE_SECONDS: Final = 60.0
_GONE: Final = (OSError, asyncio.IncompleteReadError, Permanent, ValidationError, ValueError)
FirstAnswer = Callable[[ModelStatus], None]
Asked = Callable[[ModelRequest], Awaitable[ModelAnswer]]


@dataclass(kw_only=True)
class _Member:
    writer: asyncio.StreamWriter
    status: Status | None = None


class Fleet:
    """Listens on the Unix socket."""

    def __init__(
        self,
        *,
        log: Log,
        intake: LogIntake,
        first_answer: FirstAnswer,
        size_changed: Callable[[int], None],
        asked: Asked,
    ) -> None:
        """`first_answer` is called with every status that shows one, `asked` for clients."""
        self._log = log
        self._intake = intake
        self._first_answer = first_answer
        self._size_changed = size_changed
        self._asked = asked
        self._members: dict[str, _Member] = {}
        self._news = asyncio.Condition()
        self._log_rules: dict[str, LogRules] = {}
        # Workers outlive this process: a later one must never say a revision that they know.
        self._assignment = Assignment(revision=time.time_ns() // 1000)

    @property
    def statuses(self) -> list[Status]:
        """What the connected workers look like, as far as they said."""
        return [member.status for member in self._members.values() if member.status]

    def assign(self, models: Sequence[ModelAssignment]) -> int:
        """Tell every worker what to look like; returns the revision to wait for."""
        self._assignment = Assignment(
            revision=self._assignment.revision + 1,
            models=list(models),
            log_rules=self._log_rules,
        )
        for member in self._members.values():
            self._tell(member)
        return self._assignment.revision

    def set_log_rules(self, rules: Mapping[str, LogRules]) -> int:
        """Tell every worker what is logged, by model; returns the revision to wait for."""
        self._log_rules = dict(rules)
        return self.assign(self._assignment.models)

    async def settled(self, revision: int, *, at_least: int) -> list[Status]:
        """Wait until `at_least` workers are here and all of them worked through `revision`.

        A worker that says nothing for a minute is disconnected and no longer waited for; it
        gets the newest assignment when it comes back.
        """
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS), self._news:
                    await self._news.wait_for(lambda: self._are_at(revision, at_least))
                    return self.statuses
            except TimeoutError:
                self._drop_silent(revision)

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Take connections of workers."""
        server = await asyncio.start_unix_server(self._welcome, sock=_bound(path))
        try:
            yield
        finally:
            server.close()
            for member in self._members.values():
                member.writer.close()

    def _are_at(self, revision: int, at_least: int) -> bool:
        members = self._members.values()
        return len(members) >= at_least and all(
            member.status is not None and member.status.revision >= revision for member in members
        )

    def _drop_silent(self, revision: int) -> None:
        if not self._members:
            self._log.warning("no_worker_is_connected", revision=revision)
        for worker, member in list(self._members.items()):
            if member.status is None or member.status.revision < revision:
                self._log.error("worker_does_not_answer", worker=worker, revision=revision)
                member.writer.close()
                del self._members[worker]

    def _tell(self, member: _Member) -> None:
        member.writer.write(frame(Kind.ASSIGNMENT, self._assignment.model_dump_json().encode()))

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(*_GONE):
            kind, payload = await read_frame(reader)
            if kind is Kind.HELLO:
                hello = Hello.model_validate_json(payload)
                match hello.channel:
                    case "log":
                        await self._take_log(reader, writer)
                    case "control":
                        await self._follow(hello, reader, writer)
                    case "models":
                        await self._take_request(reader, writer)
                    case "shadow":
                        await self._take_shadows(reader)
                    case _:
                        assert_never(hello.channel)
        writer.close()

    async def _take_log(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, payload = await read_frame(reader)
            if kind is Kind.LOG:
                number, record = split_numbered(payload)
                await self._intake.add(writer, number, record)

    async def _take_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        kind, payload = await read_frame(reader)
        if kind is Kind.MODEL_REQUEST:
            answer = await self._asked(ModelRequest.model_validate_json(payload))
            writer.write(frame(Kind.MODEL_ANSWER, answer.model_dump_json().encode()))
            await writer.drain()

    async def _take_shadows(self, reader: asyncio.StreamReader) -> None:
        while True:
            kind, payload = await read_frame(reader)
            if kind is Kind.SHADOW:
                self._intake.add_shadows(payload)

    async def _follow(
        self, hello: Hello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        member = _Member(writer=writer)
        self._members[hello.worker] = member
        self._size_changed(len(self._members))
        self._log.info("worker_connected", worker=hello.worker, pid=hello.pid)
        self._tell(member)
        try:
            while True:
                kind, payload = await read_frame(reader)
                if kind is Kind.STATUS:
                    await self._heard(member, Status.model_validate_json(payload))
        finally:
            if self._members.get(hello.worker) is member:
                del self._members[hello.worker]
            self._size_changed(len(self._members))
            self._log.warning("worker_gone", worker=hello.worker, pid=hello.pid)
            async with self._news:
                self._news.notify_all()

    async def _heard(self, member: _Member, status: Status) -> None:
        member.status = status
        for model in status.models:
            if model.first_answer is not None:
                self._first_answer(model)
        async with self._news:
            self._news.notify_all()


def _bound(path: Path) -> socket.socket:
    """A Unix socket for this user alone; one that a dead process left is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(0o600)
    return bound
