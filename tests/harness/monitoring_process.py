"""`python -m services.monitoring` as a process on the shared broker, in a database of its own."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.local.testing import TestBucket, TestDatabase
from headrace.events.topics import MONITORING_ALERTS, MONITORING_DATASETS
from headrace.runtime.bus import Event, Tail
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import skip_history, until


@dataclass(kw_only=True)
class MonitoringProcess:
    """The process, which a test may kill and start again."""

    environment: dict[str, str]
    http: httpx.AsyncClient
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-m", "services.monitoring"],
            env=os.environ | self.environment,
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self.running is not None
        self.running.send_signal(signal.SIGKILL)
        self.running.wait(10)

    def stop(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.terminate()
            self.running.wait(20)

    async def model(self, name: str) -> dict[str, Any] | None:
        """The model as the API shows it; None while it is unknown or the process is away."""
        try:
            response = await self.http.get(f"/api/monitoring/v1/models/{name}")
        except httpx.HTTPError:
            return None
        if response.status_code == NOT_FOUND:
            return None
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    async def wait_for_deployment(self, name: str) -> None:
        async def deployed() -> bool:
            model = await self.model(name)
            return model is not None and model["version"] is not None

        await until(deployed, seconds=60, what=f"the deployment of {name}")

    async def wait_for_labels(self, name: str, count: int) -> None:
        async def taken() -> bool:
            model = await self.model(name)
            return model is not None and model["counts"]["labels"] >= count

        await until(taken, seconds=60, what=f"{count} labels of {name}")

    async def ready(self) -> bool:
        try:
            return (await self.http.get("/readyz")).status_code == OK
        except httpx.HTTPError:
            return False


OK, NOT_FOUND = 200, 404


@asynccontextmanager
async def monitoring_process(
    *, database: TestDatabase, bucket: TestBucket, kafka: str
) -> AsyncIterator[MonitoringProcess]:
    """A running and ready process that reads from the present end of the topics."""
    await skip_history(database=database, kafka=kafka, service="monitoring")
    port = _free_port()
    settings = {
        "HTTP_PORT": str(port),
        "KAFKA": kafka,
        "DATABASE_URL": database.url("monitoring"),
        "S3_ENDPOINT": bucket.endpoint,
        "S3_BUCKET": bucket.name,
        "S3_ACCESS_KEY": bucket.access_key,
        "S3_SECRET_KEY": bucket.secret_key,
        "LOG_LEVEL": "warning",
    }
    environment = {f"HEADRACE_MONITORING_{name}": value for name, value in settings.items()}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        process = MonitoringProcess(environment=environment, http=http)
        process.start()
        try:
            await until(process.ready, seconds=60, what="monitoring to be ready")
            yield process
        finally:
            process.stop()


@asynccontextmanager
async def heard(kafka: str, model: str) -> AsyncIterator[list[Event[Any]]]:
    """What monitoring publishes about a model, in order within a topic, as it comes."""
    events: list[Event[Any]] = []

    async def on_event(event: Event[Any]) -> None:
        if event.data.model == model:
            events.append(event)

    tail = Tail(
        kafka=kafka,
        topics=[MONITORING_ALERTS, MONITORING_DATASETS],
        on_event=on_event,
        log=configure_logs(service="test", level="warning"),
    )
    running = asyncio.create_task(tail.run())
    try:
        yield events
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _free_port() -> int:
    while True:
        port = random.randint(20_000, 22_767)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
