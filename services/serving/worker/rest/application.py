"""The ASGI application of everything below /v2."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.types import Receive, Scope, Send

from headrace.runtime.telemetry import Log
from services.serving.worker.calls import Call
from services.serving.worker.failure import Code, Failure
from services.serving.worker.rest.answering import Answering, Limits
from services.serving.worker.rest.http import (
    Answer,
    Headers,
    Refusal,
    Request,
    error_answer,
    json_answer,
)
from services.serving.worker.rest.pace import Pace
from services.serving.worker.rest.routes import Route, find

PREFIX: Final = "/v2"
_INLINE_BYTES: Final = 256 * 1024
"""Larger bodies are read in a thread, whatever the model costs."""
_HELD_BODIES: Final = 4
"""Bodies of the largest size that may be in memory at a time."""
_IN_HAND: Final = 4096
_CLOSE: Final = ((b"connection", b"close"),)


class RestApplication:
    """Answers once `open` has given it the methods to answer with; until then it is only live."""

    def __init__(self, *, threads: int, limits: Limits, log: Log) -> None:
        self._limits = limits
        self._log = log
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._pace = Pace()
        self._answering: Answering | None = None
        self._held = 0
        self._in_hand = 0

    def open(self, methods: Mapping[str, Call]) -> None:
        """Answer from now on."""
        self._answering = Answering(methods=methods, limits=self._limits, log=self._log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self._in_hand += 1
        arriving = _Arriving(receive)
        try:
            answer = await self._answer(scope, arriving)
            await _send(send, answer)
        except _Gone:
            return
        finally:
            self._in_hand -= 1
            self._held -= arriving.held

    async def _answer(self, scope: Scope, arriving: _Arriving) -> Answer:
        try:
            request = await self._request(scope, arriving)
            route = find(request.path)
        except (Failure, Refusal) as error:
            return error_answer(error)
        if self._answering is None:
            return _starting(request)
        return await self._answered(self._answering, request, route)

    async def _answered(self, answering: Answering, request: Request, route: Route) -> Answer:
        size = len(request.body)
        if self._is_short(route, request.path, size):
            seconds, answer = _timed(answering, request, route)
        else:
            seconds, answer = await asyncio.get_running_loop().run_in_executor(
                self._pool, _timed, answering, request, route
            )
        if route.endpoint.predicts and answer.status == 200:
            self._pace.took(request.path, size, seconds)
        return answer

    def _is_short(self, route: Route, path: str, size: int) -> bool:
        if size > _INLINE_BYTES or route.endpoint.waits:
            return False
        return not route.endpoint.predicts or self._pace.is_short(path, size)

    async def _request(self, scope: Scope, arriving: _Arriving) -> Request:
        headers: Headers = scope["headers"]
        if self._in_hand > _IN_HAND:
            raise Refusal(429, f"more than {_IN_HAND} requests are in hand; try again", _CLOSE)
        self._check_length(headers)
        while (part := await arriving.next()) is not None:
            self._held += len(part)
            self._check_size(arriving.held)
        raw_path: bytes = scope["raw_path"]
        return Request(
            method=scope["method"],
            path=raw_path.decode("latin-1"),
            headers=headers,
            body=arriving.body(),
        )

    def _check_length(self, headers: Headers) -> None:
        for name, value in headers:
            if name == b"content-length":
                self._check_size(int(value))

    def _check_size(self, size: int) -> None:
        if size > self._limits.body:
            raise Refusal(413, f"the request body is larger than {self._limits.body} bytes", _CLOSE)
        if self._held > _HELD_BODIES * self._limits.body:
            raise Refusal(503, "too many large bodies are in memory; try again", _CLOSE)


def _timed(answering: Answering, request: Request, route: Route) -> tuple[float, Answer]:
    """The answer and the seconds it took; waiting for a thread is no cost of a call."""
    began = time.perf_counter()
    answer = answering.answer(request, route)
    return time.perf_counter() - began, answer


def _starting(request: Request) -> Answer:
    if request.path == f"{PREFIX}/health/live":
        return json_answer({"live": True})
    if request.path == f"{PREFIX}/health/ready":
        return json_answer({"ready": False}, 503)
    return error_answer(Failure(Code.UNAVAILABLE, "the server is starting"))


class _Gone(Exception):
    """The client hung up before its request was complete."""


class _Arriving:
    """The parts of a body as they come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: list[bytes] = []
        self._more = True
        self.held = 0

    async def next(self) -> bytes | None:
        """One more part, None at the end."""
        if not self._more:
            return None
        message = await self._receive()
        if message["type"] != "http.request":
            raise _Gone
        part: bytes = message.get("body", b"")
        self._more = message.get("more_body", False)
        self._parts.append(part)
        self.held += len(part)
        return part

    def body(self) -> bytes:
        """All that came."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


async def _send(send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.media_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
