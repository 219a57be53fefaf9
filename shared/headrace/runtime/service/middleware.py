"""What surrounds every HTTP request: its chain of causes, its span, the end of its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.runtime.caller import Caller
from headrace.runtime.telemetry import set_log_context
from headrace.runtime.tracing import RequestSpan, Tracer

_UNTRACED: Final = frozenset({"/livez", "/readyz", "/readyz/shutdown", "/metrics"})


def names_caller(headers: Mapping[str, str]) -> bool:
    """Whether a request says itself what chain it continues."""
    return "x-correlation-id" in headers or "traceparent" in headers


class Surroundings:
    """Gives each request a correlation id if it has none, and its span to what it causes.

    While the process stops, each answer asks the client to connect anew: closing a connection that
    is idle on this side could cross with a request that is already on its way.
    """

    def __init__(self, app: ASGIApp, *, tracer: Tracer, stopping: asyncio.Event) -> None:
        self._app = app
        self._tracer = tracer
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._tracer.on and scope["path"] not in _UNTRACED:
            await self._traced(scope, receive, send)
        else:
            await self._answer(scope, receive, send, None)

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("traceparent")
        with self._tracer.request(
            method=scope["method"], path=scope["path"], traceparent=given
        ) as span:
            await self._answer(scope, receive, send, span)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, span: RequestSpan | None
    ) -> None:
        headers = MutableHeaders(scope=scope)
        named = names_caller(headers)
        if span is not None and span.traceparent is not None:
            headers["traceparent"] = span.traceparent
        caller = Caller.of(headers)
        scope.setdefault("state", {})["caller_named"] = named
        headers["x-correlation-id"] = caller.correlation_id
        # A server logs what an application raises outside of it: the context stays with the task.
        set_log_context(caller)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered["x-correlation-id"] = caller.correlation_id
                if self._stopping.is_set():
                    answered["connection"] = "close"
                if span is not None:
                    span.answered(message["status"], getattr(scope.get("route"), "path", None))
            await send(message)

        await self._app(scope, receive, answer)
