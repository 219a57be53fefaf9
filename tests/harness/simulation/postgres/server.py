"""The database server: sessions, advisory locks, notifications, crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

import asyncpg

from tests.harness.simulation.network import Channel, Network
from tests.harness.simulation.postgres.tables import Schema
from tests.harness.simulation.postgres.transactions import (
    Locks,
    Row,
    Savepoint,
    Transaction,
)
from tests.harness.simulation.process import Process

T = TypeVar("T")

_LOSSES: Final[tuple[Callable[[], Exception], ...]] = (
    lambda: asyncpg.ConnectionDoesNotExistError("connection was closed in the middle"),
    lambda: asyncpg.InterfaceError("the underlying connection is closed"),
    lambda: ConnectionResetError("reset by peer"),
    lambda: TimeoutError("the statement took too long"),
)


class Session:
    """The server's side of one connection: at most one transaction, until it ends."""

    def __init__(
        self, server: Server, *, process: Process | None, idle_seconds: float | None
    ) -> None:
        self.told: Callable[[], None] | None = None
        self.transaction: Transaction | None = None
        self.process = process
        self._server = server
        self._idle_seconds = idle_seconds
        self._active = server.network.loop.time()
        self._ended: Exception | None = None
        if idle_seconds is not None:
            server.network.loop.call_outside(idle_seconds, self._expire, idle_seconds)

    def statement(self, run: Callable[[Transaction], T]) -> T:
        """One statement of the open transaction, or in a transaction of its own."""
        self._check()
        if self.transaction is None:
            return self._commit_alone(run)
        if self.transaction.failed:
            raise asyncpg.InFailedSQLTransactionError("current transaction is aborted")
        try:
            return run(self.transaction)
        except Exception:
            self.transaction.failed = True
            raise

    def lock_and(
        self, row: Row, run: Callable[[Transaction], T], answer: asyncio.Future[T]
    ) -> None:
        """Lock a row of the open transaction, then run a statement; both may come later."""
        transaction = self.statement(lambda opened: opened)

        def granted(error: Exception | None) -> None:
            if answer.done():
                return
            if error is not None:
                transaction.failed = True
                answer.set_exception(error)
                return
            try:
                answer.set_result(self.statement(run))
            except Exception as failure:
                answer.set_exception(failure)

        self._server.waiting[self] = answer
        transaction.lock(row, granted)

    def begin(self) -> None:
        self._check()
        self.transaction = Transaction(self._server.locks)

    def rollback_to(self, savepoint: Savepoint) -> None:
        """Undo a part of the open transaction, also if a statement of it failed."""
        self._check()
        if self.transaction is not None:
            self.transaction.rollback_to(savepoint)

    def commit(self) -> None:
        """Apply what was written. Raises if the session, or the transaction, ended before."""
        self._check()
        if self.transaction is not None:
            self.transaction.commit()
            self.transaction = None

    def rollback(self) -> None:
        self._check()
        if self.transaction is not None:
            self.transaction.rollback()
            self.transaction = None

    def lead(self, lock: str) -> bool:
        """Whether this session holds, or now got, an advisory lock."""
        self._check()
        return self._server.advisory.setdefault(lock, self) is self

    def end(self, why: Exception) -> None:
        """Roll back and release; what is asked or waited for raises `why`."""
        if self._ended is not None:
            return
        self._ended = why
        waiting = self._server.waiting.pop(self, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(why)
        if self.transaction is not None:
            self.transaction.rollback()
        self._server.forget(self)

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended
        self._active = self._server.network.loop.time()

    def _commit_alone(self, run: Callable[[Transaction], T]) -> T:
        transaction = Transaction(self._server.locks)
        result = run(transaction)
        transaction.commit()
        return result

    def _expire(self, seconds: float) -> None:
        if self._ended is not None:
            return
        left = self._active + seconds - self._server.network.loop.time()
        if left > 0:
            self._server.network.loop.call_outside(left, self._expire, seconds)
            return
        self._server.network.trace("a session stood idle and is ended")
        self.end(asyncpg.IdleSessionTimeoutError("terminating connection: idle-session timeout"))


class Server:
    """One server with a schema for each service; what was committed survives its crash."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.up = True
        self.locks = Locks()
        self.advisory: dict[str, Session] = {}
        self.waiting: dict[Session, asyncio.Future[Any]] = {}
        self._sessions: dict[Session, None] = {}
        self._schemas: dict[str, Schema] = {}

    def schema(self, name: str) -> Schema:
        """A service's schema, made where it is missing."""
        if name not in self._schemas:
            incarnation = f"{self.network.random.getrandbits(128):032x}"
            groups = (incarnation[:8], *(incarnation[n : n + 4] for n in (8, 12, 16)))
            identity = "-".join((*groups, incarnation[20:]))
            self._schemas[name] = Schema(name=name, incarnation=identity)
        return self._schemas[name]

    def schemas(self) -> Collection[Schema]:
        """Of all services so far."""
        return self._schemas.values()

    def channel(self) -> Channel:
        """A connection before anything was said on it."""
        return Channel(self.network, lost=self.loss)

    def loss(self) -> Exception:
        """What a client may see of a connection that broke."""
        return self.network.random.choice(_LOSSES)()

    def accept(
        self, *, process: Process | None, idle_seconds: float | None, transactional: bool
    ) -> Session:
        """Begin a session. Raises while the server is down."""
        if not self.up:
            raise self.network.random.choice(
                (ConnectionRefusedError("no server"), asyncpg.CannotConnectNowError("starting"))
            )
        session = Session(self, process=process, idle_seconds=idle_seconds)
        if transactional:
            session.begin()
        self._sessions[session] = None
        return session

    def notify(self) -> None:
        """Tell who listens, each in its own process."""
        for session in self._sessions:
            if session.told is not None:
                session.told()

    def crash(self) -> None:
        """End every session, commit nothing more."""
        self.network.trace("database crashes")
        self.up = False
        for session in list(self._sessions):
            session.end(asyncpg.AdminShutdownError("terminating connection"))

    def restart(self) -> None:
        self.network.trace("database is back")
        self.up = True

    def sever(self, process: Process) -> None:
        """Notice, some moments later, that a process died."""
        for session in list(self._sessions):
            if session.process is process:
                delay = self.network.random.uniform(0.001, 0.3)
                error = asyncpg.ConnectionDoesNotExistError("the client is gone")
                self.network.loop.call_outside(delay, session.end, error)

    def forget(self, session: Session) -> None:
        """A session ended: nobody may find what it held."""
        self._sessions.pop(session, None)
        for lock, holder in list(self.advisory.items()):
            if holder is session:
                del self.advisory[lock]
