"""What the fast path takes, and what it leaves to the application."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from headrace.runtime.service import FastAnswer, FastRequest
from headrace.runtime.service.fast import MAX_ARRIVING, MAX_BODY, FastPath


class Application:
    """Remembers the bodies that it was left, as far as they have come."""

    def __init__(self) -> None:
        self.left: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _ = scope, send
        message = await receive()
        self.left.append(message["body"])


class Sender:
    """A client of the path: what it has sent, and what it was answered."""

    def __init__(self, *parts: bytes, ends: bool) -> None:
        self._parts = list(parts)
        self._ends = ends
        self.answers: list[Message] = []

    async def receive(self) -> Message:
        if not self._parts:
            await asyncio.Event().wait()
        part = self._parts.pop(0)
        more = bool(self._parts) or not self._ends
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    async def ask(self, path: FastPath, *headers: tuple[bytes, bytes]) -> None:
        scope = {"type": "http", "method": "POST", "path": "/echo", "headers": list(headers)}
        await path(scope, self.receive, self.send)


async def echo(request: FastRequest) -> FastAnswer:
    named = request.header(b"x-name") or ""
    return FastAnswer(200, named.encode() + request.body, media_type=b"text/plain")


def path_before(application: Application) -> FastPath:
    return FastPath(application, {"/echo": echo}, stopping=asyncio.Event())


async def test_an_answer_has_the_media_type_and_the_chain_of_its_request() -> None:
    sender = Sender(b"a", b"b", ends=True)
    await sender.ask(path_before(Application()), (b"x-correlation-id", b"turn-1"))
    start, body = sender.answers
    assert dict(start["headers"]) == {
        b"content-type": b"text/plain",
        b"content-length": b"2",
        b"x-correlation-id": b"turn-1",
    }
    assert body["body"] == b"ab"


async def test_of_a_header_that_comes_twice_the_first_is_read() -> None:
    sender = Sender(b"", ends=True)
    await sender.ask(path_before(Application()), (b"x-name", b"one"), (b"x-name", b"two"))
    assert sender.answers[1]["body"] == b"one"


async def test_a_large_body_is_left_to_the_application() -> None:
    application = Application()
    large = bytes(MAX_BODY + 1)
    await Sender(large, ends=True).ask(path_before(application))
    assert application.left == [large]


async def test_bodies_that_do_not_come_to_their_end_hold_bounded_memory() -> None:
    application = Application()
    path = path_before(application)
    part = bytes(MAX_BODY)
    senders = [Sender(part, ends=False) for _ in range(MAX_ARRIVING // MAX_BODY + 2)]
    tasks = [asyncio.create_task(sender.ask(path)) for sender in senders]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert application.left == [part, part]
    small = Sender(b"small", ends=True)
    await small.ask(path)
    assert small.answers[1]["body"] == b"small"
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
