"""Isolation for tests that share one running set of backends: a fresh database, a fresh bucket."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg

from deploy.local.backends import ADMIN, DATABASE, Backends
from deploy.local.errors import StackError
from deploy.local.stack import Stack

TEMPLATE = "headrace_template"


@dataclass(frozen=True, kw_only=True)
class TestDatabase:
    """A database of one test, with the login roles and schemas of all services in it."""

    __test__ = False  # not a test class, whatever its name

    name: str
    backends: Backends

    @property
    def admin_url(self) -> str:
        """Connection URL of the superuser."""
        return self.backends.admin_url(self.name)

    def url(self, role: str) -> str:
        """Connection URL of one service's login role, such as "tracking"."""
        return self.backends.database_url(role, self.name)


@dataclass(frozen=True, kw_only=True)
class TestBucket:
    """A bucket of one test and how to reach it."""

    __test__ = False  # not a test class, whatever its name

    name: str
    endpoint: str
    access_key: str
    secret_key: str


async def create_template(backends: Backends) -> None:
    """Copy the provisioned, still empty database, so that tests can be given copies of it."""
    await _execute(backends, f"create database {TEMPLATE} template {DATABASE} strategy=file_copy")


async def create_database(backends: Backends) -> TestDatabase:
    """A fresh copy of the template, open to the same roles as the original."""
    database = TestDatabase(name=f"test_{uuid4().hex[:16]}", backends=backends)
    roles = ", ".join(backends.role_passwords)
    await _execute(
        backends,
        f"create database {database.name} template {TEMPLATE} strategy=file_copy",
        # Rights on a database are not copied with it.
        f"revoke all on database {database.name} from public",
        f"grant connect, temporary on database {database.name} to {roles}",
    )
    return database


async def drop_database(database: TestDatabase) -> None:
    """Remove the database, whoever is still connected."""
    await _execute(database.backends, f"drop database if exists {database.name} with (force)")


async def _execute(backends: Backends, *statements: str) -> None:
    connection = await asyncpg.connect(backends.admin_url(ADMIN))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.contextmanager
def shared_backends(directory: Path, prepare: Callable[[Backends], None]) -> Iterator[Backends]:
    """One set of backends for all processes that pass the same directory (pytest-xdist's workers).

    The first one in starts them and stops them again when the last one has left.
    """
    share = _Share(directory)
    with share.locked():
        share.enter()
        if share.description.exists():
            owner = None
        else:
            owner = contextlib.ExitStack()
            try:
                stack = owner.enter_context(Stack.temporary())
                prepare(stack.backends)
            except BaseException:
                share.leave()
                owner.close()
                raise
            share.publish(stack.backends)
    try:
        yield Backends.from_json(share.description.read_text())
    finally:
        with share.locked():
            share.leave()
        if owner is not None:
            share.wait_empty(seconds=600)
            owner.close()


class _Share:
    """Who uses the shared backends: one file a user, counted under a lock."""

    def __init__(self, directory: Path) -> None:
        self.description = directory / "backends.json"
        self._lock = directory / "backends.lock"
        self._users = directory / "backends-users"
        self._users.mkdir(exist_ok=True)
        self._me = self._users / uuid4().hex

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def enter(self) -> None:
        self._me.touch()

    def leave(self) -> None:
        self._me.unlink(missing_ok=True)

    def publish(self, backends: Backends) -> None:
        self.description.touch(mode=0o600)
        self.description.write_text(backends.to_json())

    def wait_empty(self, *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(self._users.iterdir()):
            if time.monotonic() > deadline:
                raise StackError(f"the shared backends are still in use after {seconds:.0f} s")
            time.sleep(0.1)
        self.description.unlink(missing_ok=True)
