"""What the fast path holds in memory is bounded, whatever clients send."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from headrace.runtime.bus import Caller
from headrace.runtime.service import FastAnswer
from headrace.runtime.service.fast import MAX_BODY, FastPath

SCOPE: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/call",
    "headers": [(b"content-type", b"application/json")],
}


async def unanswered(message: Message) -> None:
    _ = message


def half_a_body(rest: asyncio.Event) -> Receive:
    """A client that sends one piece, and the last one when `rest` is set."""
    pieces = [{"type": "http.request", "body": b" " * MAX_BODY, "more_body": True}]

    async def receive() -> Message:
        if pieces:
            return pieces.pop()
        await rest.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def test_bodies_that_are_too_much_together_are_left_to_the_application() -> None:
    left: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _ = receive, send
        left.append(scope)

    async def call(body: bytes, caller: Caller | None) -> FastAnswer:
        _ = body, caller
        return FastAnswer(200, b"{}")

    fast, rest = FastPath(app, {"/call": call}, stopping=asyncio.Event()), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(fast(SCOPE, half_a_body(rest), unanswered))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(left) == 36
        rest.set()
    await fast(SCOPE, half_a_body(rest), unanswered)
    assert len(left) == 36
