"""The tracking service as a process of its own, on real backends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import mlflow
import pytest
from mlflow import MlflowClient

from deploy.local import Backends, provision
from deploy.local.testing import TestDatabase, create_database, drop_database
from tests.harness.bus import skip_history

CHECKOUT = Path(__file__).parents[3]


@dataclass(kw_only=True)
class TrackingProcess:
    """One `python -m services.tracking` that a test may kill and start again."""

    environment: dict[str, str]
    url: str
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self, *, seconds: float = 30) -> None:
        """Start and wait until it is ready to answer."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.tracking"],
                cwd=CHECKOUT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + seconds
        while not self._ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


def free_port() -> int:
    """A free port below the ephemeral range."""
    for port in range(20000 + os.getpid() % 1500, 22767):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def prepared(
    backends: Backends, database: TestDatabase, bucket: str, directory: Path
) -> TrackingProcess:
    """A process that is not started yet, its consumer at the present end of the topics."""
    asyncio.run(skip_history(database=database, kafka=backends.kafka, service="tracking"))
    port = free_port()
    prefix = "HEADRACE_TRACKING_"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return TrackingProcess(
        url=f"http://127.0.0.1:{port}",
        log=directory / "tracking.log",
        environment={
            **plain,
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'shared'}",
            f"{prefix}HTTP_PORT": str(port),
            f"{prefix}KAFKA": backends.kafka,
            f"{prefix}DATABASE_URL": database.url("tracking"),
            f"{prefix}S3_ENDPOINT": backends.s3_endpoint,
            f"{prefix}S3_BUCKET": bucket,
            f"{prefix}S3_ACCESS_KEY": backends.s3_access_key,
            f"{prefix}S3_SECRET_KEY": backends.s3_secret_key,
        },
    )


@pytest.fixture(scope="session")
def tracking(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingProcess]:
    """A running service that tests share: each uses experiments of its own."""
    database = asyncio.run(create_database(backends))
    bucket = f"tracking-{uuid4().hex[:12]}"
    provision.bucket(backends, bucket)
    service = prepared(backends, database, bucket, tmp_path_factory.mktemp("tracking"))
    service.start()
    yield service
    service.stop()
    asyncio.run(drop_database(database))


@pytest.fixture
def own_tracking(
    backends: Backends, database: TestDatabase, tmp_path: Path
) -> Iterator[TrackingProcess]:
    """A running service of one test alone, to be killed."""
    bucket = f"tracking-{uuid4().hex[:12]}"
    provision.bucket(backends, bucket)
    service = prepared(backends, database, bucket, tmp_path)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def client(tracking: TrackingProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """An unmodified MLflow client."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(tracking.url)
    yield MlflowClient(tracking.url)
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    """The id of a fresh experiment."""
    return str(client.create_experiment(f"experiment {uuid4()}"))


@pytest.fixture
def http(tracking: TrackingProcess) -> Iterator[httpx.Client]:
    """Plain HTTP to the service."""
    with httpx.Client(base_url=tracking.url, timeout=20) as plain:
        yield plain
