"""Routes for what is called thousands of times a second: one lookup, then the function.

A fast route answers a POST whose small JSON document it understands at a glance; for anything
else it returns None and the request goes on to the application, which knows every spelling and
every error. So each fast route stands before an ordinary route of the same path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.ids import new_id
from headrace.runtime.bus import Caller

MAX_BODY: Final = 1024 * 1024
"""Larger bodies are the application's; one is held in memory whole."""

_MOST_HELD: Final = 64 * 1024 * 1024
"""Bytes of all bodies that are being received or answered; above it the application decides."""
_JSON: Final = b"application/json"


@dataclass(frozen=True, slots=True)
class FastAnswer:
    """A JSON answer; `headers` beside those that every answer has."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


FastFunction = Callable[[bytes, Caller | None], Awaitable[FastAnswer | None]]
"""From body and caller (None if the request names none) to the answer."""

FastRoutes = Mapping[str, FastFunction]
"""Functions by path."""


class FastPath:
    """Tries the fast routes, then the application."""

    def __init__(self, app: ASGIApp, routes: FastRoutes, *, stopping: asyncio.Event) -> None:
        self._app = app
        self._routes = routes
        self._stopping = stopping
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = None
        if scope["type"] == "http" and scope["method"] == "POST" and not self._stopping.is_set():
            route = self._routes.get(scope["path"])
        if route is None:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-type", b"").partition(b";")[0] != _JSON:
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        caller = _caller(headers)
        try:
            body = await self._whole_body(receive, messages)
            answer = await route(body, caller) if body is not None else None
        finally:
            self._held -= _size_of(messages)
        if answer is None:
            await self._app(scope, _again(messages, receive), send)
            return
        await _send(send, answer, caller)

    async def _whole_body(self, receive: Receive, messages: list[Message]) -> bytes | None:
        """The body if all of it comes and is not too large; `messages` gets what is received."""
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            if message["type"] != "http.request":
                return None
            came = len(message.get("body", b""))
            size += came
            self._held += came
            if size > MAX_BODY or self._held > _MOST_HELD:
                return None
            if not message.get("more_body"):
                break
        if len(messages) == 1:
            return bytes(messages[0].get("body", b""))
        return b"".join(message.get("body", b"") for message in messages)


def _size_of(messages: Iterable[Message]) -> int:
    return sum(len(message.get("body", b"")) for message in messages)


def _again(messages: list[Message], receive: Receive) -> Receive:
    """What was received, and then the rest."""
    waiting = iter(messages)

    async def next_message() -> Message:
        for message in waiting:
            return message
        return await receive()

    return next_message


def _caller(headers: Mapping[bytes, bytes]) -> Caller | None:
    """Who asks, if the request says it: most say nothing."""
    if b"x-correlation-id" not in headers and b"traceparent" not in headers:
        return None
    names = ("x-correlation-id", "x-causation-id", "traceparent")
    return Caller.of(
        {
            name: headers[name.encode()].decode("latin-1")
            for name in names
            if name.encode() in headers
        }
    )


async def _send(send: Send, answer: FastAnswer, caller: Caller | None) -> None:
    correlation = caller.correlation_id if caller is not None else new_id()
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", _JSON),
                (b"content-length", str(len(answer.body)).encode()),
                (b"x-correlation-id", correlation.encode()),
                *answer.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
