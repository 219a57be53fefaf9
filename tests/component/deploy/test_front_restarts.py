"""The front door while a service behind it is restarted: requests wait, none fails."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from deploy.local.front import front_spec
from deploy.local.ports import Ports, free_block
from deploy.local.process import SupervisedProcess

PATH = "/api/registry/v1/models"


class Registry:
    """A registry that can be absent, present, or present and about to stop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: ThreadingHTTPServer | None = None
        self.stopping = False
        self.looks = 0
        self.served = 0

    def start(self) -> None:
        registry = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/readyz/shutdown":
                    registry.looks += 1
                    self._say(503 if registry.stopping else 200)
                    return
                registry.served += 1
                self._say(200)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                registry.served += 1
                self._say(200)

            def log_message(self, *_: object) -> None:
                return

            def _say(self, status: int) -> None:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Answer)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def ports() -> Iterator[Ports]:
    with free_block() as block:
        yield block


@pytest.fixture
def registry(ports: Ports) -> Iterator[Registry]:
    made = Registry(ports["registry"])
    yield made
    made.stop()


@pytest.fixture
def front(tmp_path: Path, ports: Ports) -> Iterator[str]:
    """The front door's address."""
    for name in ("logs", "run"):
        (tmp_path / name).mkdir()
    process = SupervisedProcess(
        front_spec(directory=tmp_path, ports=ports, env={}), directory=tmp_path
    )
    process.start()
    yield f"http://127.0.0.1:{ports['front']}"
    process.stop()


def until_looked(registry: Registry, times: int) -> None:
    goal, deadline = registry.looks + times, time.monotonic() + 10
    while registry.looks < goal:
        assert time.monotonic() < deadline, "the front door does not look"
        time.sleep(0.01)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_waits_for_a_service_that_is_not_there_yet(
    front: str, registry: Registry, method: str
) -> None:
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(httpx.request, method, front + PATH, json={}, timeout=20)
        with pytest.raises(TimeoutError):
            asking.result(0.5)
        registry.start()

        assert asking.result(10).status_code == 200
    assert registry.served == 1


def test_a_service_that_is_about_to_stop_gets_no_new_request(
    front: str, registry: Registry
) -> None:
    registry.start()
    until_looked(registry, 1)
    assert httpx.post(front + PATH, json={}, timeout=20).status_code == 200
    registry.stopping = True
    until_looked(registry, 2)

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(httpx.post, front + PATH, json={}, timeout=20)
        until_looked(registry, 2)
        assert registry.served == 1
        registry.stopping = False

        assert asking.result(10).status_code == 200
    assert registry.served == 2
