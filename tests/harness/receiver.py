"""A receiver of webhooks: a real HTTP server that remembers what came and answers as it is told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp


@dataclass(frozen=True, kw_only=True)
class Message:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers["x-mlflow-delivery-id"]

    @property
    def event(self) -> str:
        return f"{self.document['entity']}.{self.document['action']}"

    @property
    def data(self) -> Any:
        return self.document["data"]

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def signed_by(self, secret: str) -> bool:
        """Whether the signature is the one that receivers compute."""
        signed = f"{self.id}.{self.headers['x-mlflow-timestamp']}.{self.body}"
        digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        return self.headers["x-mlflow-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def accept(message: Message) -> Response:
    _ = message
    return Response("thanks")


@dataclass(kw_only=True)
class Receiver:
    """`answer` may be changed while it runs; one that returns None never answers."""

    port: int
    answer: Callable[[Message], Response | None] = accept
    messages: list[Message] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[str]:
        return [message.event for message in self.messages]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Receiver]:
        routes = [Route("/{path:path}", self._take, methods=["POST"])]
        async with serving(Starlette(routes=routes), port=self.port):
            yield self

    async def _take(self, request: Request) -> Response:
        message = Message(
            path=request.url.path,
            headers=dict(request.headers),
            body=(await request.body()).decode(),
        )
        self.messages.append(message)
        answer = self.answer(message)
        if answer is None:
            await asyncio.Event().wait()
            raise AssertionError
        return answer


@asynccontextmanager
async def serving(app: ASGIApp, *, port: int) -> AsyncIterator[None]:
    """An application behind a real socket."""
    config = uvicorn.Config(
        app, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await running


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
