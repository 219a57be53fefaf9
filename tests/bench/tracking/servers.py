"""The two servers: ours, and MLflow's own as fair as it can be set up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx

from deploy.local import Backends, Stack, identity, provision
from deploy.local.identity import STACK_ID_VARIABLE
from deploy.local.testing import TestDatabase, create_database
from tests.bench.tracking.meter import Roots
from tests.bench.tracking.settling import until_settled
from tests.component.tracking.process import TrackingProcess, free_port, prepared

_PEER_SECONDS: Final = 240.0
_KEEP_ALIVE_MS: Final = 10.0
SETTLE_SECONDS: Final = 60.0


class Server(Protocol):
    """A running server of MLflow's API on a database of its own."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def roots(self) -> Roots: ...

    @property
    def schema(self) -> str:
        """Where its tables are."""
        ...

    @property
    def database_url(self) -> str:
        """Of the superuser."""
        ...

    def settle(self) -> None:
        """Return once what its acknowledged writes still cause is done; tell if it is not."""
        ...


def port_of(server: Server) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Our tracking service; the broker is part of what it costs."""

    stack: Stack
    process: TrackingProcess
    database: TestDatabase
    name: str = "ours"
    schema: str = "tracking"

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def database_url(self) -> str:
        return self.database.admin_url

    @property
    def roots(self) -> Roots:
        assert self.process.process is not None
        return Roots(
            service=self.process.process.pid,
            postgres=self.stack.process("postgres").pid,
            kafka=self.stack.process("kafka").pid,
        )

    def settle(self, *, seconds: float = SETTLE_SECONDS) -> None:
        """Its log is folded, its events are on the broker, its chunks are compacted."""
        if not asyncio.run(until_settled(self.database_url, seconds=seconds)):
            print(f"  NOT SETTLED within {seconds:.0f} s: its CPU is told too low", flush=True)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """MLflow's server; `cold_seconds` is what its start on an empty database took."""

    stack: Stack
    process: subprocess.Popen[bytes]
    url: str
    database_url: str
    cold_seconds: float
    keep_alive_ms: float
    name: str = "mlflow"
    schema: str = "public"

    @property
    def roots(self) -> Roots:
        return Roots(service=self.process.pid, postgres=self.stack.process("postgres").pid)

    def settle(self) -> None:
        return


@contextlib.contextmanager
def running_ours(stack: Stack) -> Iterator[Ours]:
    """Our service, ready."""
    with prepared_ours(stack) as ours:
        ours.process.start(seconds=60)
        yield ours


@contextlib.contextmanager
def prepared_ours(stack: Stack, *, empty: bool = False) -> Iterator[Ours]:
    """The same, not started; it begins at the present end of the topics, or knows nothing."""
    database = asyncio.run(create_database(stack.backends))
    bucket = f"tracking-{uuid4().hex[:12]}"
    provision.bucket(stack.backends, bucket)
    directory = stack.directory / bucket
    directory.mkdir()
    process = prepared(stack.backends, database, bucket, directory)
    process.environment["HEADRACE_TRACKING_LOG_LEVEL"] = "warning"
    process.environment[STACK_ID_VARIABLE] = stack.leftovers.stack_id
    if empty:
        database = asyncio.run(create_database(stack.backends))
        process.environment["HEADRACE_TRACKING_DATABASE_URL"] = database.url("tracking")
    try:
        yield Ours(stack=stack, process=process, database=database)
    finally:
        if process.process is not None and process.process.poll() is None:
            process.stop()


@contextlib.contextmanager
def running_peer(stack: Stack) -> Iterator[Peer]:
    """MLflow's server with two workers, once it answers as soon as it can.

    Raises AssertionError when a keep-alive answer takes 10 ms: without uvloop its workers leave
    TCP_NODELAY unset, every answer is 40 ms late, and beside that anything looks fast.
    """
    for needed in ("uvloop", "httptools", "psycopg2"):
        assert find_spec(needed) is not None, f"a fair MLflow needs {needed}; run `make setup`"
    name = f"mlflow_{uuid4().hex[:12]}"
    asyncio.run(_create(stack.backends, name))
    url, directory = f"http://127.0.0.1:{free_port()}", stack.directory / name
    directory.mkdir()
    began = time.monotonic()
    process = _start_peer(stack, url, stack.backends.admin_url(name), directory)
    try:
        _await_health(url, process, directory / "mlflow.log")
        cold = time.monotonic() - began
        yield Peer(
            stack=stack,
            process=process,
            url=url,
            database_url=stack.backends.admin_url(name),
            cold_seconds=cold,
            keep_alive_ms=_keep_alive(url),
        )
    finally:
        identity.end(identity.tree(process.pid), seconds=10)
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _start_peer(
    stack: Stack, url: str, database_url: str, directory: Path
) -> subprocess.Popen[bytes]:
    """Without its job runner and its access log, which would cost it memory and time."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with (directory / "mlflow.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "2"),
                *("--host", "127.0.0.1", "--port", str(urlsplit(url).port)),
                *("--backend-store-uri", database_url),
                *("--serve-artifacts", "--artifacts-destination", str(directory / "artifacts")),
                *("--uvicorn-opts", "--log-level warning"),
            ],
            cwd=directory,
            env={
                **plain,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                # Whoever cleans up after a killed run finds it by this.
                STACK_ID_VARIABLE: stack.leftovers.stack_id,
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Its database is migrated before it listens: a minute on a busy machine."""
    deadline = time.monotonic() + _PEER_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK:
                return
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.1)


def _keep_alive(url: str) -> float:
    """Median milliseconds of an answer on connections that stay, to any of its workers."""
    times = []
    for _ in range(6):
        with httpx.Client(base_url=url) as http:
            http.get("/health")
            for _ in range(10):
                began = time.perf_counter()
                http.get("/health")
                times.append((time.perf_counter() - began) * 1e3)
    median = statistics.median(times)
    assert median < _KEEP_ALIVE_MS, (
        f"MLflow answers /health in {median:.0f} ms on a kept connection: it lacks uvloop, and a"
        " comparison with it would flatter us"
    )
    return median


async def _create(backends: Backends, name: str) -> None:
    connection = await asyncpg.connect(backends.admin_url("postgres"))
    try:
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
