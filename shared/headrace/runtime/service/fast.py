"""Routes for what is called thousands of times a second: one lookup, then the function.

A fast route answers a POST whose small body it understands at a glance; for anything else it
returns None and the request goes on to the application, which knows every spelling and every
error. So each fast route stands before an ordinary route of the same path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.ids import new_id
from headrace.runtime.caller import Caller

MAX_BODY: Final = 1024 * 1024
"""Larger bodies are the application's; one is held in memory whole."""

MAX_ARRIVING: Final = 64 * 1024 * 1024
"""When bodies that are still to be completed hold more, they are the application's as well."""

_JSON: Final = b"application/json"


@dataclass(frozen=True)
class FastRequest:
    """A whole body; `headers` by their names in lower case, the first of each."""

    body: bytes
    headers: Mapping[bytes, bytes]

    def header(self, name: bytes) -> str | None:
        """A header's value."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value is not None else None

    @property
    def media_type(self) -> bytes:
        """The content type without its parameters, as the client spells it."""
        return self.headers.get(b"content-type", b"").partition(b";")[0]

    @property
    def is_json(self) -> bool:
        """Whether the body is said to be JSON."""
        return self.media_type == _JSON

    @cached_property
    def caller(self) -> Caller | None:
        """Who asks, if the request says it: most say nothing."""
        if b"x-correlation-id" not in self.headers and b"traceparent" not in self.headers:
            return None
        names = (b"x-correlation-id", b"x-causation-id", b"traceparent")
        return Caller.of(
            {
                name.decode(): self.headers[name].decode("latin-1")
                for name in names
                if name in self.headers
            }
        )


@dataclass(frozen=True, slots=True)
class FastAnswer:
    """An answer; `headers` beside those that every answer has."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    media_type: bytes = _JSON


FastFunction = Callable[[FastRequest], Awaitable[FastAnswer | None]]
"""From the request to its answer, or to None: then the application answers."""

FastRoutes = Mapping[str, FastFunction]
"""Functions by path."""


class FastPath:
    """Tries the fast routes, then the application."""

    def __init__(self, app: ASGIApp, routes: FastRoutes, *, stopping: asyncio.Event) -> None:
        self._app = app
        self._routes = routes
        self._stopping = stopping
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = None
        if scope["type"] == "http" and scope["method"] == "POST" and not self._stopping.is_set():
            route = self._routes.get(scope["path"])
        if route is None:
            await self._app(scope, receive, send)
            return
        messages, body = await self._whole_body(receive)
        if body is not None:
            request = FastRequest(body, dict(reversed(scope["headers"])))
            answer = await route(request)
            if answer is not None:
                await _send(send, answer, request.caller)
                return
        await self._app(scope, _again(messages, receive), send)

    async def _whole_body(self, receive: Receive) -> tuple[list[Message], bytes | None]:
        """What was received, and the body if all of it is there and not too large."""
        messages: list[Message] = []
        size = 0
        try:
            while True:
                message = await receive()
                messages.append(message)
                if message["type"] != "http.request":
                    return messages, None
                arrived = len(message.get("body", b""))
                size += arrived
                self._arriving += arrived
                if size > MAX_BODY:
                    return messages, None
                if not message.get("more_body"):
                    return messages, _joined(messages)
                if self._arriving > MAX_ARRIVING:
                    return messages, None
        finally:
            self._arriving -= size


def _joined(messages: list[Message]) -> bytes:
    if len(messages) == 1:
        body: bytes = messages[0].get("body", b"")
        return body
    return b"".join(message.get("body", b"") for message in messages)


def _again(messages: list[Message], receive: Receive) -> Receive:
    """What was received, and then the rest."""
    waiting = iter(messages)

    async def next_message() -> Message:
        for message in waiting:
            return message
        return await receive()

    return next_message


async def _send(send: Send, answer: FastAnswer, caller: Caller | None) -> None:
    correlation = caller.correlation_id if caller is not None else new_id()
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", answer.media_type),
                (b"content-length", str(len(answer.body)).encode()),
                (b"x-correlation-id", correlation.encode()),
                *answer.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
