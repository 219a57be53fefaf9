"""The tracking service as a process of its own, to be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.local import Backends
from deploy.local.testing import TestDatabase
from tests.harness.bus import skip_history

CHECKOUT = Path(__file__).parents[3]
# Without compiled modules on the disk a start takes more than twice its CPU.
_UNWANTED = ("HEADRACE_", "PYTHONDONTWRITEBYTECODE")


@dataclass(kw_only=True)
class TrackingProcess:
    """One `python -m services.tracking` that a test may kill and start again."""

    environment: dict[str, str]
    url: str
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self, *, seconds: float = 90) -> None:
        """Start and wait until it is ready to answer; ended if it is not in time."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.tracking"],
                cwd=CHECKOUT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_ready(self.process, time.monotonic() + seconds)
        except BaseException:
            self.kill()
            raise

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

    def _wait_ready(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while not self._ready():
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

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
    plain = {name: value for name, value in os.environ.items() if not name.startswith(_UNWANTED)}
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
