"""What every route needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request

from headrace.runtime.bus import Caller, Tx
from headrace.runtime.db import Connection
from headrace.runtime.service import Resources
from services.registry.api.sources import Sources
from services.registry.settings import Settings
from services.registry.webhooks.sender import Sender

PREFIX: Final = "/api/registry/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Resources of the service, how sources are looked up, and the way to webhooks.

    `committed` is called after every write.
    """

    resources: Resources[Settings]
    sources: Sources
    sender: Sender
    committed: Callable[[], None]

    @property
    def project(self) -> str:
        return self.resources.settings.project

    def now(self) -> datetime:
        return self.resources.clock.now()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection for reads: one snapshot for everything read through it."""
        async with (
            self.resources.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def writing(self, request: Request) -> AsyncIterator[Tx]:
        """A transaction that continues the chain of causes in the request's headers."""
        async with self.resources.bus.transaction(Caller.of(request.headers)) as tx:
            yield tx
        self.committed()
