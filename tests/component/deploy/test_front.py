"""The front door's routes, with real Caddy before servers that only say who they are."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from deploy.local.front import UPSTREAMS, front_spec
from deploy.local.ports import Ports, free_block
from deploy.local.process import SupervisedProcess

_let_go = threading.Event()


def _server(name: str, port: int) -> ThreadingHTTPServer:
    class SayName(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{name} {self.path}".encode())
            if self.path.endswith("/tail"):
                _let_go.wait(30)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            return

    return ThreadingHTTPServer(("127.0.0.1", port), SayName)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The front door's address."""
    directory: Path = tmp_path_factory.mktemp("front")
    for name in ("logs", "run"):
        (directory / name).mkdir()
    with free_block() as ports:
        servers = [_server(name, ports[name]) for name in UPSTREAMS]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        process = _caddy(directory, ports)
        process.start()
        yield f"http://127.0.0.1:{ports['front']}"
        process.stop()
        for server in servers:
            server.shutdown()
            server.server_close()


def _caddy(directory: Path, ports: Ports) -> SupervisedProcess:
    spec = front_spec(directory=directory, ports=ports, env={})
    return SupervisedProcess(spec, directory=directory)


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api/2.0/mlflow/registered-models/get?name=flights", "registry"),
        ("/api/2.0/mlflow/registered-models/alias", "registry"),
        ("/api/2.0/mlflow/model-versions/search", "registry"),
        ("/ajax-api/2.0/mlflow/registered-models/search", "registry"),
        ("/ajax-api/2.0/mlflow/model-versions/get", "registry"),
        ("/api/2.0/mlflow/webhooks", "registry"),
        ("/api/2.0/mlflow/webhooks/1/test", "registry"),
        ("/ajax-api/2.0/mlflow/webhooks?max_results=2", "registry"),
        ("/model-versions/get-artifact?name=flights&version=1&path=MLmodel", "registry"),
        ("/api/registry/v1/webhooks/1/deliveries", "registry"),
        ("/api/2.0/mlflow/runs/create", "tracking"),
        ("/api/3.0/mlflow/logged-models/search", "tracking"),
        ("/ajax-api/3.0/mlflow/traces/search", "tracking"),
        ("/ajax-api/2.0/mlflow-artifacts/artifacts", "tracking"),
        ("/api/3.0/mlflow/datasets/create", "tracking"),
        ("/v1/traces", "tracking"),
        ("/get-artifact?run_id=1&path=a", "tracking"),
        ("/api/2.0/mlflow-artifacts/artifacts/1/model.onnx", "tracking"),
        ("/api/3.0/mlflow/traces", "tracking"),
        ("/ajax-api/2.0/mlflow/experiments/search", "tracking"),
        ("/version", "tracking"),
        ("/health", "tracking"),
        ("/api/tracking/v1/runs", "tracking"),
        ("/api/registry/v1/models", "registry"),
        ("/api/orchestrator/v1/runs", "orchestrator"),
        ("/api/serving/v1/models", "serving"),
        ("/v2", "serving-worker"),
        ("/v2/models/flights%2Fnyc/infer", "serving-worker"),
        ("/v2x", "console"),
        ("/api/monitoring/v1/models/flights", "monitoring"),
        ("/", "console"),
        ("/static/style.css", "console"),
        ("/models/flights", "console"),
    ],
)
def test_a_path_goes_to_its_service_unchanged(front: str, path: str, service: str) -> None:
    assert httpx.get(front + path, timeout=10).text == f"{service} {path}"


def test_what_a_tailed_run_sends_arrives_at_once(front: str) -> None:
    path = "/api/tracking/v1/runs/1/tail"
    with httpx.stream("GET", front + path, timeout=10) as response:
        assert next(response.iter_text()) == f"tracking {path}"
        _let_go.set()
