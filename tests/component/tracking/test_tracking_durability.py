"""What was acknowledged stays, whatever dies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from deploy.local import Backends, provision
from deploy.local.testing import TestDatabase
from tests.component.tracking.listening import listening
from tests.component.tracking.process import TrackingProcess, prepared

API = "/api/2.0/mlflow"
WRITERS = 4


def new_run(http: httpx.Client) -> str:
    made = http.post(f"{API}/experiments/create", json={"name": f"kill {uuid4()}"}).json()
    run = http.post(f"{API}/runs/create", json={**made, "start_time": 1})
    return str(run.json()["run"]["info"]["run_id"])


def batch(run_id: str, writer: int, number: int) -> dict[str, object]:
    """Twenty points and a param that belong to one write alone."""
    metrics = [
        {"key": f"loss{writer}", "value": number + i / 100, "timestamp": number, "step": number}
        for i in range(20)
    ]
    params = [{"key": f"p{writer}-{number}", "value": "1"}]
    return {"run_id": run_id, "metrics": metrics, "params": params}


def write_until_dead(url: str, run_id: str, writer: int, acknowledged: list[int]) -> None:
    """Write batches one after another until the service is gone; note those acknowledged."""
    with httpx.Client(base_url=url, timeout=10) as http:
        for number in range(10_000):
            try:
                answer = http.post(f"{API}/runs/log-batch", json=batch(run_id, writer, number))
            except httpx.HTTPError:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.append(number)


def stored_steps(http: httpx.Client, run_id: str, writer: int) -> list[int]:
    query = {"run_id": run_id, "metric_key": f"loss{writer}"}
    found = http.get(f"{API}/metrics/get-history", params=query).json()["metrics"]
    return [point["step"] for point in found]


async def test_a_killed_service_loses_nothing_acknowledged_and_doubles_nothing(
    own_tracking: TrackingProcess, kafka: str
) -> None:
    async with listening(kafka) as ear:
        with httpx.Client(base_url=own_tracking.url, timeout=10) as http:
            run_id = new_run(http)
        acknowledged: list[list[int]] = [[] for _ in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as pool:
            writing = [
                pool.submit(write_until_dead, own_tracking.url, run_id, writer, acks)
                for writer, acks in enumerate(acknowledged)
            ]
            deadline = time.monotonic() + 20
            while min(map(len, acknowledged)) < 10:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            own_tracking.kill()
            for future in writing:
                future.result()
        own_tracking.start()
        with httpx.Client(base_url=own_tracking.url, timeout=10) as http:
            for writer, acks in enumerate(acknowledged):
                steps = stored_steps(http, run_id, writer)
                assert set(acks) <= set(steps)
                assert all(steps.count(step) == 20 for step in set(steps))
                for number in (*acks[-3:], len(acks)):  # the client sends again what it must
                    again = http.post(f"{API}/runs/log-batch", json=batch(run_id, writer, number))
                    assert again.status_code == 200
                steps = stored_steps(http, run_id, writer)
                assert len(steps) == 20 * (len(acks) + 1)
        writes = sum(len(acks) + 1 for acks in acknowledged)
        params = await ear.until_params(run_id, writes)
    assert len(params) == len(set(params)) == writes


class Cable:
    """A TCP connection to a server that can be pulled out and plugged in again."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._plugged = True
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        """Cut all connections and refuse new ones."""
        self._plugged = False
        for end in self._open:
            _hang_up(end)
        self._open.clear()

    def plug(self) -> None:
        """Let connections through again."""
        self._plugged = True

    def close(self) -> None:
        self.pull()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._plugged:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._open.extend((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            _hang_up(source)
            _hang_up(sink)


def _hang_up(end: socket.socket) -> None:
    """Close at once, also under a thread that is reading."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@pytest.fixture
def cable(backends: Backends) -> Iterator[Cable]:
    made = Cable("127.0.0.1", backends.postgres_port)
    yield made
    made.close()


def test_without_postgresql_writes_are_turned_away_with_429_and_come_through_later(
    backends: Backends,
    database: TestDatabase,
    cable: Cable,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bucket = f"tracking-{uuid4().hex[:12]}"
    provision.bucket(backends, bucket)
    service = prepared(backends, database, bucket, tmp_path_factory.mktemp("away"))
    url = service.environment["HEADRACE_TRACKING_DATABASE_URL"]
    away = url.replace(f":{backends.postgres_port}/", f":{cable.port}/")
    assert away != url
    service.environment["HEADRACE_TRACKING_DATABASE_URL"] = away
    service.start()
    try:
        with httpx.Client(base_url=service.url, timeout=20) as http:
            run_id = new_run(http)
            assert http.post(f"{API}/runs/log-batch", json=batch(run_id, 0, 0)).status_code == 200
            cable.pull()
            answer = http.post(f"{API}/runs/log-batch", json=batch(run_id, 0, 1))
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
            assert http.get("/livez").status_code == 200
            assert http.get("/readyz").status_code == 503
            cable.plug()
            deadline = time.monotonic() + 20
            body = batch(run_id, 0, 1)
            while http.post(f"{API}/runs/log-batch", json=body).status_code != 200:
                assert time.monotonic() < deadline
            assert stored_steps(http, run_id, 0) == [0] * 20 + [1] * 20
    finally:
        service.stop()
