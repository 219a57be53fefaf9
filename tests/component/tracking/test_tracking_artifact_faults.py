"""Artifacts when S3 is away, and files that are larger than the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.component.tracking.process import TrackingProcess, free_port

PROXY = "/api/2.0/mlflow-artifacts"
MEGABYTE = bytes(range(256)) * 4096


CALLS = (
    ("PUT", "/artifacts/d/x", None),
    ("GET", "/artifacts/d/x", None),
    ("DELETE", "/artifacts/d/x", None),
    ("GET", "/artifacts?path=d", None),
    ("GET", "/presigned/d/x", None),
    ("POST", "/mpu/create/d", {"path": "x", "num_parts": 1}),
)


@pytest.fixture
def without_s3(idle_tracking: TrackingProcess) -> Iterator[httpx.Client]:
    """A service whose S3 does not answer."""
    away = f"http://127.0.0.1:{free_port() + 1}"
    idle_tracking.environment["HEADRACE_TRACKING_S3_ENDPOINT"] = away
    idle_tracking.start()
    with httpx.Client(base_url=idle_tracking.url, timeout=30) as http:
        yield http


@pytest.mark.slow
def test_s3_away_asks_clients_to_try_again(without_s3: httpx.Client) -> None:
    for method, target, body in CALLS:
        answer = without_s3.request(method, f"{PROXY}{target}", json=body)
        assert answer.status_code == 429, target
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"


def peak(tracking: TrackingProcess) -> int:
    """The most memory that the process had resident, in bytes."""
    assert tracking.process is not None
    status = Path(f"/proc/{tracking.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
def test_a_file_larger_than_the_service_streams_through_it(own_tracking: TrackingProcess) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(200):
            yield MEGABYTE

    target = f"{PROXY}/artifacts/large"
    with httpx.Client(base_url=own_tracking.url, timeout=60) as http:
        http.put(target, content=MEGABYTE)
        before = peak(own_tracking)
        assert http.put(target, content=body()).status_code == 200
        size = 0
        with http.stream("GET", target) as answer:
            for chunk in answer.iter_bytes():
                size += len(chunk)
    assert size == 200 * len(MEGABYTE)
    assert peak(own_tracking) - before < 64 * len(MEGABYTE)
