"""Whether PostgreSQL answers, asked all the time on a connection of its own.

A server that is stopped but not gone (SIGSTOP, a network that swallows packets) leaves its
connections open, and what waits for an answer on one would wait for its command time-out. Once
nothing has been answered for a few seconds the pool's connections are broken here: every waiting
request gets its error, and the next ones a fresh connection as soon as one can be made.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from headrace.runtime import db
from headrace.runtime.telemetry import Log

_PROBE_SECONDS: Final = 1.5
_PAUSE_SECONDS: Final = 0.5
_DROP_AFTER_SECONDS: Final = 2.5


class DatabaseWatch:
    """Says what is wrong with the database, and frees those who wait for it in vain."""

    def __init__(
        self, *, url: str, schema: str, packages: tuple[str, ...], pool: db.BoundedPool, log: Log
    ) -> None:
        self._url = url
        self._schema = schema
        self._packages = packages
        self._pool = pool
        self._log = log
        self._answered_at = asyncio.get_running_loop().time()
        self._failure: str | None = None
        self._schema_trouble: list[str] = []
        self._asked = asyncio.Event()
        self._result = asyncio.Event()

    async def trouble(self) -> list[str]:
        """Why a process on this database is not ready; empty when it is.

        Asks the database, at most for a second and a half, unless it is known to be away.
        """
        if self._failure is None:
            self._asked.set()
            self._result.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._result.wait(), _PROBE_SECONDS)
        if self._failure is None:
            return self._schema_trouble
        return [f"database: no answer for {self._silent_seconds():.0f} s ({self._failure})"]

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                async with self._session() as session:
                    while True:
                        await self._probe(session)
                        await self._pause()
            except db.DATABASE_TROUBLE as why:
                self._note_failure(why)
            await self._pause()

    async def _pause(self) -> None:
        self._result.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), _PAUSE_SECONDS)
        self._asked.clear()

    async def _probe(self, session: asyncpg.Connection) -> None:
        async with asyncio.timeout(_PROBE_SECONDS):
            found = await db.schema_trouble(session, packages=self._packages)
        if self._failure is not None:
            self._log.info("database_answers", after_seconds=round(self._silent_seconds(), 1))
        self._schema_trouble = found
        self._answered_at = asyncio.get_running_loop().time()
        self._failure = None

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[asyncpg.Connection]:
        async with asyncio.timeout(_PROBE_SECONDS):
            session = await db.connect(self._url, schema=self._schema)
        try:
            yield session
        finally:
            # Closing politely would wait for a server that may not answer.
            session.terminate()

    def _note_failure(self, why: Exception) -> None:
        if self._failure is None:
            self._log.warning("database_unreachable", reason=repr(why))
        self._failure = type(why).__name__
        # A server that refuses (too many connections, a start) still serves those it has.
        silent = isinstance(why, TimeoutError)
        if silent and self._silent_seconds() >= _DROP_AFTER_SECONDS:
            self._pool.drop_connections()

    def _silent_seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._answered_at
