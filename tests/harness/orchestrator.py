"""A real orchestrator over real PostgreSQL, Kafka and S3; workers are real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from deploy.local.testing import TestBucket, TestDatabase
from headrace.events import PipelineRunChanged, RetrainDecided
from headrace.events.topics import ORCHESTRATOR_POLICY, ORCHESTRATOR_RUNS
from headrace.ids import new_id
from headrace.pipelines import Plan
from headrace.pipelines.plan import Parameter, RetryPlan, Source, StepPlan
from headrace.runtime import db
from headrace.runtime.bus import Event, Tail
from headrace.runtime.service.lifecycle import serve
from headrace.runtime.telemetry import configure_logs
from services.orchestrator.app import build
from services.orchestrator.settings import Settings
from tests.harness.bus import until

CHECKOUT = Path(__file__).resolve().parents[2]
API = "/api/orchestrator/v1"
LEASE_SECONDS = 3.0
SAMPLE = "tests.harness.sample_pipelines"


PLAN_NAME = "by-hand"
PLAN = Plan(
    name=PLAN_NAME,
    module="nowhere",
    attribute="by_hand",
    parameters=(
        Parameter(name="n", kind="int", required=False, default=1),
        Parameter(name="model", kind="str", required=False, default=""),
        Parameter(name="dataset_version", kind="int", required=False, default=0),
    ),
    steps=(
        StepPlan(
            name="first",
            function="first",
            inputs={"n": Source(parameter="n")},
            outputs={"result": "int"},
            retry=RetryPlan(attempts=2, backoff=0.01),
            timeout=60,
        ),
        StepPlan(
            name="second",
            function="second",
            inputs={"x": Source(step="first", output="result")},
            outputs={"result": "int"},
        ),
    ),
)
"""Two steps in a row, run by `FakeWorker`."""


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
            return bool(found["state"] == state)

        await until(there, seconds=seconds, what=f"step {step} to be {state}")
        return found


@dataclass(kw_only=True)
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    log: Path
    directory: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def readable(self) -> Path:
        """A directory that its steps may read."""
        path = self.directory / "readable"
        path.mkdir(exist_ok=True)
        return path


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
            "HEARTBEAT_SECONDS": "0.5",
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
        worker = Worker(process=process, log=log, directory=self.directory)
        self.started.append(worker)
        return worker

    @property
    def readable(self) -> Path:
        path = self.directory / "readable"
        path.mkdir(exist_ok=True)
        return path

    async def ready(self, instance: int = 0, **changes: str) -> Worker:
        """A worker that has imported its pipelines and takes steps."""
        worker = self.start(instance, **changes)
        await until(
            lambda: worker.text.count("ready_for_steps") + worker.text.count("_registered") >= 2,
            seconds=90,
            what="the worker to be ready",
        )
        return worker

    def end(self) -> None:
        for worker in self.started:
            worker.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=10)


@dataclass(kw_only=True)
class Ear:
    """What the orchestrator says on Kafka since the test began."""

    heard: list[Event[Any]] = field(default_factory=list)

    async def hear(self, event: Event[Any]) -> None:
        self.heard.append(event)

    def of_run(self, run_id: str) -> list[Event[Any]]:
        return [
            event
            for event in self.heard
            if getattr(event.data, "pipeline_run_id", None) == run_id
            and not isinstance(event.data, RetrainDecided)
        ]

    def decisions(self, model: str) -> list[RetrainDecided]:
        return [
            event.data
            for event in self.heard
            if isinstance(event.data, RetrainDecided) and event.data.model == model
        ]

    async def until_decided(self, model: str, count: int = 1) -> list[RetrainDecided]:
        await until(
            lambda: len(self.decisions(model)) >= count, what=f"{count} decisions about {model}"
        )
        return self.decisions(model)

    async def until_ended(self, run_id: str) -> list[Event[Any]]:
        def ended() -> bool:
            return any(
                isinstance(event.data, PipelineRunChanged)
                and event.data.state in ("succeeded", "failed", "cancelled")
                for event in self.of_run(run_id)
            )

        await until(ended, what=f"the end of run {run_id} on Kafka")
        return self.of_run(run_id)


@dataclass(kw_only=True)
class FakeWorker:
    """Speaks the worker protocol by hand, so that a test decides what a worker does."""

    orchestrator: Orchestrator
    name: str = field(default_factory=lambda: f"hand-{new_id()}")
    session: str = field(default_factory=new_id)
    plans: list[Any] = field(default_factory=lambda: [PLAN.to_json()])

    async def hello(self) -> None:
        await self.orchestrator.call("POST", "/worker/hello", self._message(plans=self.plans))

    async def claim(self, *, wait_seconds: float = 0.0, pipeline: str = PLAN_NAME) -> Any:
        message = self._message(pipelines=[pipeline], wait_seconds=wait_seconds)
        answer = await self.orchestrator.call("POST", "/worker/claim", message)
        return answer["assignment"]

    async def beat(self, assignment: Any) -> list[int]:
        held = [self._held(assignment)]
        answer = await self.orchestrator.call("POST", "/worker/heartbeat", self._message(held=held))
        return list(answer["fences"])

    async def complete(self, assignment: Any, **fields: Any) -> httpx.Response:
        outputs = {"result": {"kind": "json", "value": 1}}
        message = {"outcome": "succeeded", "outputs": outputs, **fields}
        body = self._message(**self._held(assignment), **message)
        return await self.orchestrator.answer("POST", "/worker/complete", body)

    def _message(self, **fields: Any) -> dict[str, Any]:
        return {"worker": self.name, "session": self.session, **fields}

    def _held(self, assignment: Any) -> dict[str, Any]:
        return {
            "pipeline_run_id": assignment["run"]["run_id"],
            "step": assignment["step"],
            "fence": assignment["fence"],
        }


@asynccontextmanager
async def listening(kafka: str) -> AsyncIterator[Ear]:
    """Hear what the orchestrator says from now on."""
    ear = Ear()
    tail = Tail(
        kafka=kafka,
        topics=[ORCHESTRATOR_RUNS, ORCHESTRATOR_POLICY],
        on_event=ear.hear,
        log=configure_logs(service="orchestrator", level="warning"),
        start="end",
    )
    task = asyncio.create_task(tail.run())
    await asyncio.wait_for(tail.caught_up.wait(), 20)
    yield ear
    task.cancel()
    await asyncio.wait({task})
