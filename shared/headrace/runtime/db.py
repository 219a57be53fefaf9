"""PostgreSQL: the pool of a service and its forward-only migrations.

A service owns one schema, named like itself, through a role that can reach nothing else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, Final
from weakref import WeakSet

import asyncpg
import orjson

from headrace.errors import Permanent

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
_NUMBERED: Final = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
DATABASE_TROUBLE: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a statement may raise while the server goes away; the last is a race inside the driver."""
TRANSACTION_LOST: Final = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
"""The transaction itself is lost or cannot be kept: nothing that was done in it is to blame."""
BUS_MIGRATIONS: Final = "headrace.runtime.bus.migrations"
_CONNECT_SECONDS: Final = 3.0
_ACQUIRE_SECONDS: Final = 4.0
_COMMAND_SECONDS: Final = 60.0


class BoundedPool(asyncpg.Pool):
    """A pool whose users wait a bounded time, also for a server that does not answer."""

    def __init__(self, url: str, *, schema: str, size: int) -> None:
        self._live: WeakSet[asyncpg.Connection] = WeakSet()
        super().__init__(
            url,
            # No floor: asyncpg would log a traceback at each vain try to restore it.
            min_size=0,
            max_size=size,
            max_queries=50_000,
            max_inactive_connection_lifetime=300,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            init=self._prepare,
            reset=_leave_as_it_is,
            server_settings={"search_path": schema, "application_name": f"headrace-{schema}"},
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
        )

    def acquire(self, *, timeout: float | None = None) -> Any:
        """A connection. Raises TimeoutError when none is free in time."""
        return super().acquire(timeout=_ACQUIRE_SECONDS if timeout is None else timeout)

    def drop_connections(self) -> None:
        """Break all connections: who waits for an answer gets an error, new ones are made."""
        for connection in list(self._live):
            connection.terminate()

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        self._live.add(connection)
        await _speak_json(connection)


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """Spare every use of a connection a round trip: nobody changes a pooled session's state.

    What is left open of a transaction is rolled back by the pool before this is called.
    """
    _ = connection


async def open_pool(url: str, *, schema: str, size: int = 10) -> BoundedPool:
    """A pool whose connections see `schema` first and speak JSON as Python objects."""
    pool = BoundedPool(url, schema=schema, size=size)
    await pool
    return pool


async def connect(
    url: str, *, schema: str, command_seconds: float = _COMMAND_SECONDS, **server_settings: str
) -> asyncpg.Connection:
    """One connection outside the pool, for sessions that hold a lock.

    A statement that takes longer than `command_seconds` raises TimeoutError.
    """
    connection: asyncpg.Connection = await asyncpg.connect(
        url,
        timeout=_CONNECT_SECONDS,
        command_timeout=command_seconds,
        server_settings={
            "search_path": schema,
            "application_name": f"headrace-{schema}-session",
            **server_settings,
        },
    )
    await _speak_json(connection)
    return connection


async def migrate(pool: asyncpg.Pool, *, schema: str, packages: tuple[str, ...]) -> int:
    """Apply what is missing of each package's numbered files; returns the files applied.

    Replicas that start together wait for one another on an advisory lock. A file that was
    changed after it was applied is not noticed: migrations are forward only.
    """
    applied = 0
    async with pool.acquire() as connection:
        await connection.execute("select pg_advisory_lock(hashtext($1))", f"migrate:{schema}")
        try:
            await connection.execute(
                "create table if not exists migration (package text, file text,"
                " applied_at timestamptz not null default now(), primary key (package, file))"
            )
            for package in packages:
                applied += await _apply_package(connection, package)
        finally:
            await connection.execute("select pg_advisory_unlock(hashtext($1))", f"migrate:{schema}")
    return applied


async def schema_trouble(connection: Connection, *, packages: tuple[str, ...]) -> list[str]:
    """How the database's migrations differ from those that this version of the code has."""
    rows = await connection.fetch(
        "select package, file from migration where package = any($1)", list(packages)
    )
    applied = {(row["package"], row["file"]) for row in rows}
    shipped = {(package, name) for package in packages for name in migration_names(package)}
    return [
        *(
            f"schema: the database has {package}/{name}, which this version does not know"
            for package, name in sorted(applied - shipped)
        ),
        *(
            f"schema: {package}/{name} is not applied to the database"
            for package, name in sorted(shipped - applied)
        ),
    ]


@cache
def migration_names(package: str) -> tuple[str, ...]:
    """The numbered files of a package, in order."""
    return tuple(name for name, _ in _numbered_files(package))


async def wait_until_up(url: str, *, seconds: float = 30.0) -> None:
    """Return once PostgreSQL takes connections. Raises the last error after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
        except DATABASE_TROUBLE:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            await connection.close()
            return


async def _apply_package(connection: Connection, package: str) -> int:
    done = {
        row["file"]
        for row in await connection.fetch("select file from migration where package=$1", package)
    }
    count = 0
    for name, sql in _numbered_files(package):
        if name in done:
            continue
        async with connection.transaction():
            await connection.execute(sql)
            await connection.execute(
                "insert into migration (package, file) values ($1, $2)", package, name
            )
        count += 1
    return count


def _numbered_files(package: str) -> Iterator[tuple[str, str]]:
    files = sorted(
        (entry for entry in resources.files(package).iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    for expected, entry in enumerate(files, start=1):
        matched = _NUMBERED.match(entry.name)
        if matched is None or int(matched.group(1)) != expected:
            raise Permanent(
                f"migration {package}/{entry.name}: expected a name like {expected:04d}_words.sql"
            )
        yield entry.name, entry.read_text()


async def _speak_json(connection: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name,
            schema="pg_catalog",
            encoder=lambda value: orjson.dumps(value).decode(),
            decoder=orjson.loads,
        )
