"""Processor time of what takes part, and a stack for one benchmark."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import asyncpg
import psutil

from deploy.local import Stack
from deploy.local.backends import ADMIN
from deploy.local.testing import TestDatabase, create_database
from headrace.runtime import db


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """Seconds of processor time."""

    python: float
    postgres: float
    kafka: float

    def since(self, earlier: Cpu) -> Cpu:
        return Cpu(
            python=self.python - earlier.python,
            postgres=self.postgres - earlier.postgres,
            kafka=self.kafka - earlier.kafka,
        )

    def each(self, count: int) -> str:
        """Microseconds for one of `count`."""
        parts = {"python": self.python, "postgres": self.postgres, "kafka": self.kafka}
        texts = (f"{name} {seconds / count * 1e6:.1f}" for name, seconds in parts.items())
        return f"CPU us an event: {', '.join(texts)}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a benchmark runs: real servers with fsync, a database of its own."""

    stack: Stack
    database: TestDatabase
    pool: asyncpg.Pool
    service: str

    @property
    def url(self) -> str:
        return self.database.url(self.service)

    @property
    def kafka(self) -> str:
        return self.stack.backends.kafka

    def cpu(self, processes: Sequence[subprocess.Popen[bytes]]) -> Cpu:
        """Spent so far by these processes and by both servers."""
        return Cpu(
            python=sum(_spent(process.pid) for process in processes),
            postgres=_spent(self.stack.process("postgres").pid),
            kafka=_spent(self.stack.process("kafka").pid),
        )


@asynccontextmanager
async def place(stack: Stack, *, service: str) -> AsyncIterator[Place]:
    """A fresh database with the bus's tables of one service."""
    await _settle(stack)
    database = await create_database(stack.backends)
    pool = await db.open_pool(database.url(service), schema=service, size=4)
    await db.migrate(pool, schema=service, packages=(db.BUS_MIGRATIONS,))
    try:
        yield Place(stack=stack, database=database, pool=pool, service=service)
    finally:
        await pool.close()


async def _settle(stack: Stack) -> None:
    """Write out what an earlier benchmark left, so that its checkpoint does not fall into this."""
    connection = await asyncpg.connect(stack.backends.admin_url(ADMIN))
    await connection.execute("checkpoint")
    await connection.close()


@contextmanager
def processes(count: int, module: str, *arguments: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Some processes of one module; each gets its ordinal as the last argument."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = [
        subprocess.Popen([sys.executable, "-m", module, *arguments, str(number)], env=environment)
        for number in range(count)
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


@dataclass(frozen=True, kw_only=True)
class Talker:
    """A process that tells numbers and their times, a line each."""

    process: asyncio.subprocess.Process

    async def line(self) -> str:
        """The next line."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode()

    async def until(self, count: int, *, seconds: float) -> dict[int, float]:
        """The next `count` lines; ends the process."""
        told: dict[int, float] = {}
        try:
            async with asyncio.timeout(seconds):
                while len(told) < count:
                    number, at = (await self.line()).split()
                    told[int(number)] = float(at)
        finally:
            self.process.kill()
            await self.process.wait()
        return told

    async def rest(self, seconds: float) -> dict[int, float]:
        """All lines to the end of the process."""
        async with asyncio.timeout(seconds):
            out, _ = await self.process.communicate()
        pairs = (line.split() for line in out.decode().splitlines())
        return {int(number): float(at) for number, at in pairs}


async def started(module: str, *arguments: str) -> Talker:
    """A running process of a module whose lines are read."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments), env=environment, stdout=subprocess.PIPE
    )
    return Talker(process=process)


def _spent(pid: int) -> float:
    """Of a process and all that it started, those that ended included."""
    spent = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system + times.children_user + times.children_system
    return spent
