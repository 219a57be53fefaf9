"""A real orchestrator over real PostgreSQL, Kafka and S3; workers are real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.local.testing import TestBucket, TestDatabase
from headrace.events.contracts import by_type
from headrace.ids import new_id
from headrace.runtime import db
from headrace.runtime.blobs import Blobs
from headrace.runtime.service.lifecycle import serve
from headrace.runtime.telemetry import configure_logs
from services.orchestrator.app import build
from services.orchestrator.settings import Settings
from tests.harness.bus import skip_history, until

CHECKOUT = Path(__file__).resolve().parents[3]
API = "/api/orchestrator/v1"
SAMPLE = "tests.component.orchestrator.sample"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One event as it went through the outbox."""

    data: Any
    id: str
    correlation_id: str
    causation_id: str | None

    @property
    def name(self) -> str:
        return type(self.data).__name__


@dataclass(kw_only=True)
class Orchestrator:
    """A running orchestrator."""

    url: str
    http: httpx.AsyncClient
    pool: asyncpg.Pool
    settings: Settings

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        response = await self.answer(method, path, body, **headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def answer(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, f"{API}{path}", json=body, headers=names)

    async def start(self, pipeline: str, **parameters: Any) -> str:
        run_id = new_id()
        body = {
            "pipeline": pipeline,
            "parameters": parameters,
            "requested_by": "test",
            "pipeline_run_id": run_id,
        }
        await self.call("POST", "/runs", body)
        return run_id

    async def run(self, run_id: str) -> Any:
        return await self.call("GET", f"/runs/{run_id}")

    async def finished(self, run_id: str, *, seconds: float = 30) -> Any:
        async def done() -> bool:
            return (await self.run(run_id))["state"] not in ("pending", "running")

        await until(done, seconds=seconds, what=f"end of run {run_id}")
        return await self.run(run_id)

    async def until_step(self, run_id: str, step: str, state: str, *, seconds: float = 30) -> Any:
        found: dict[str, Any] = {}

        async def there() -> bool:
            run = await self.run(run_id)
            found.update(next(entry for entry in run["steps"] if entry["step"] == step))
            return found["state"] == state

        await until(there, seconds=seconds, what=f"step {step} to be {state}")
        return found


@dataclass(kw_only=True)
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)

    @property
    def text(self) -> str:
        return self.log.read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    database: TestDatabase, bucket: TestBucket, **changes: Any
) -> AsyncIterator[Orchestrator]:
    """An orchestrator on these backends; its history on Kafka begins now."""
    settings = Settings(
        **{
            "http_port": free_port(),
            "kafka": database.backends.kafka,
            "database_url": database.url("orchestrator"),
            "s3_endpoint": bucket.endpoint,
            "s3_bucket": bucket.name,
            "s3_access_key": bucket.access_key,
            "s3_secret_key": bucket.secret_key,
            "registry_url": "http://127.0.0.1:9",
            **changes,
        }
    )
    stop = asyncio.Event()
    log = configure_logs(service="orchestrator", level="warning")
    task = asyncio.create_task(serve(build(settings), log=log, stop=stop))
    url = f"http://127.0.0.1:{settings.http_port}"
    pool = await db.open_pool(database.url("orchestrator"), schema="orchestrator", size=2)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            await until(lambda: _ready(http, task), what="orchestrator to be ready")
            yield Orchestrator(url=url, http=http, pool=pool, settings=settings)
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=20)
        await pool.close()
    task.result()


async def _ready(http: httpx.AsyncClient, task: asyncio.Task[None]) -> bool:
    assert not task.done(), task.exception()
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def orchestrator(
    database: TestDatabase, bucket: TestBucket, kafka: str
) -> AsyncIterator[Orchestrator]:
    await skip_history(database=database, kafka=kafka, service="orchestrator")
    async with running(database, bucket, lease_seconds=3.0) as started:
        yield started


@dataclass(kw_only=True)
class Workers:
    """Starts workers for an orchestrator; all of them end with the test."""

    url: str
    bucket: TestBucket
    directory: Path
    started: list[Worker] = field(default_factory=list)

    def start(self, instance: int = 0, **changes: str) -> Worker:
        values = {
            "INSTANCE": str(instance),
            "HTTP_PORT": str(free_port()),
            "ORCHESTRATOR_URL": self.url,
            "FRONT_URL": "http://127.0.0.1:9",
            "PIPELINES": SAMPLE,
            "SCRATCH_DIR": str(self.directory / "scratch"),
            "READABLE_DIRS": str(self.readable),
            "S3_ENDPOINT": self.bucket.endpoint,
            "S3_BUCKET": self.bucket.name,
            "S3_ACCESS_KEY": self.bucket.access_key,
            "S3_SECRET_KEY": self.bucket.secret_key,
            **changes,
        }
        paths = os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "shared")))
        environment = {f"HEADRACE_WORKER_{name}": value for name, value in values.items()}
        log = self.directory / f"worker-{len(self.started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.orchestrator", "worker"],
                cwd=CHECKOUT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": paths, **environment},
                stdout=output,
                stderr=output,
            )
        worker = Worker(process=process, log=log)
        self.started.append(worker)
        return worker

    @property
    def readable(self) -> Path:
        path = self.directory / "readable"
        path.mkdir(exist_ok=True)
        return path

    def end(self) -> None:
        for worker in self.started:
            worker.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=10)


@pytest.fixture
def workers(orchestrator: Orchestrator, bucket: TestBucket, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(url=orchestrator.url, bucket=bucket, directory=tmp_path)
    yield made
    made.end()


def published(row: asyncpg.Record) -> Published:
    contract = by_type()[row["type"]]
    headers = row["headers"]
    return Published(
        data=contract.decode(row["payload"]),
        id=str(row["id"]),
        correlation_id=headers["ce_correlationid"],
        causation_id=headers.get("ce_causationid"),
    )


@pytest.fixture
async def blobs(bucket: TestBucket) -> AsyncIterator[Blobs]:
    async with Blobs.open(
        endpoint=bucket.endpoint,
        bucket=bucket.name,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
    ) as opened:
        yield opened
