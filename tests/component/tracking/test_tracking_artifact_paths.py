"""Paths that try to leave: refused by every route, and nothing in the bucket is touched."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pytest

from headrace.runtime.blobs import Blobs
from tests.component.tracking.process import TrackingProcess

ENCODED = {
    "parent": "../../secret",
    "encoded parent": "a/%2e%2e/%2E%2E/b",
    "twice encoded": "%252e%252e/%252e%252e/b",
    "encoded slash": "..%2f..%2fsecret",
    "absolute": "/etc/passwd",
    "encoded absolute": "%2Fetc/passwd",
    "backslash": "a%5C..%5C..%5Cb",
    "twice encoded backslash": "a%255c..%255cb",
    "drive": "C%3A/windows",
    "fragment": "a%23b",
    "zero byte": "a%00b",
    "tabulator": "a%09b",
    "not UTF-8": "a%ff%fe",
    "over-long slash": "..%c0%afb",
    "too long": "x" * 1000,
    "far too long": "%2525" * 2000,
}
REFUSALS = ("Invalid path", "The request holds text that is not valid")
PROXY = "/api/2.0/mlflow-artifacts"
MLFLOW = "/api/2.0/mlflow"


class Wire:
    """Plain HTTP that sends a target as it stands."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)

    def send(self, method: str, target: str, body: object = None) -> tuple[int, dict[str, object]]:
        data = json.dumps(body).encode() if body is not None else b"x"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        with_body = method in ("PUT", "POST")
        self._connection.request(method, target, body=data if with_body else None, headers=headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wire(tracking: TrackingProcess) -> Iterator[Wire]:
    """A raw connection to the service."""
    connection = Wire(tracking.url)
    yield connection
    connection.close()


@pytest.fixture
def owners(http: httpx.Client, experiment: str) -> tuple[str, str]:
    """A run and a logged model."""
    run = http.post(
        f"{MLFLOW}/runs/create", json={"experiment_id": experiment, "start_time": 1}
    ).json()
    model = http.post(f"{MLFLOW}/logged-models", json={"experiment_id": experiment}).json()
    return run["run"]["info"]["run_id"], model["model"]["info"]["model_id"]


async def keys(tracking: TrackingProcess) -> list[tuple[str, int]]:
    """All that lies in the bucket."""
    settings = {
        name: tracking.environment[f"HEADRACE_TRACKING_S3_{name.upper()}"]
        for name in ("endpoint", "bucket", "access_key", "secret_key")
    }
    async with Blobs.open(**settings) as blobs:
        return [(blob.key, blob.size) for blob in await blobs.list("")]


def attempts(path: str, run_id: str, model_id: str) -> Iterator[tuple[str, str, object]]:
    """Every route that takes a path, with the path percent-encoded or, in a body, as it stands."""
    for method in ("PUT", "GET", "DELETE"):
        yield method, f"{PROXY}/artifacts/{path}", None
    yield "GET", f"{PROXY}/artifacts?path={path}", None
    yield "GET", f"{PROXY}/presigned/{path}", None
    yield "GET", f"{MLFLOW}/artifacts/list?run_id={run_id}&path={path}", None
    yield "GET", f"/get-artifact?run_id={run_id}&path={path}", None
    yield "POST", f"{MLFLOW}/upload-artifact?run_id={run_id}&path={path}", None
    models = f"{MLFLOW}/logged-models/{model_id}/artifacts"
    yield "GET", f"{models}/files?artifact_file_path={path}", None
    yield "GET", f"{models}/directories?artifact_directory_path={path}", None
    upload = {"upload_id": "1", "num_parts": 1, "parts": [{"part_number": 1, "etag": "e"}]}
    for verb in ("create", "complete", "abort"):
        yield "POST", f"{PROXY}/mpu/{verb}/{path}", {**upload, "path": "x"}
    for verb in ("upload", "download"):
        body = {"run_id": run_id, "path": path}
        yield "POST", f"{MLFLOW}/artifacts/presigned-{verb}-url", body


@pytest.mark.parametrize("path", ENCODED.values(), ids=ENCODED.keys())
async def test_a_path_that_tries_to_leave_is_refused_everywhere(
    wire: Wire, tracking: TrackingProcess, owners: tuple[str, str], path: str
) -> None:
    before = await keys(tracking)
    for method, target, body in attempts(path, *owners):
        status, document = wire.send(method, target, body)
        assert (status, document["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), target
        assert str(document["message"]).startswith(REFUSALS), target
    assert await keys(tracking) == before
    assert "call_failed" not in tracking.log.read_text()


def test_a_path_with_a_line_break_leads_nowhere(wire: Wire, owners: tuple[str, str]) -> None:
    for method, target, body in attempts("a%0d%0aX-Header:%20b", *owners):
        status, document = wire.send(method, target, body)
        assert (status, document["error_code"]) in {
            (400, "INVALID_PARAMETER_VALUE"),
            (404, "ENDPOINT_NOT_FOUND"),
        }, target


@pytest.mark.parametrize("name", ["..", "a/..", "%2e%2e", "src%5C..", "a%2Fb", "C:..", "a\ud800"])
@pytest.mark.parametrize("verb", ["create", "complete", "abort"])
def test_a_file_in_parts_whose_name_tries_to_leave_is_refused(
    wire: Wire, verb: str, name: str
) -> None:
    upload = {"upload_id": "1", "num_parts": 1, "parts": [{"part_number": 1, "etag": "e"}]}
    status, document = wire.send("POST", f"{PROXY}/mpu/{verb}/d", {**upload, "path": name})
    assert status == 400
    assert str(document["message"]).startswith(REFUSALS)


def test_names_that_only_look_dangerous_are_kept(http: httpx.Client) -> None:
    for name in ("...", "..a", "a..b", "~", "a;b", "a?b", "a&b=c", "a+b", "日本", "a:b", " a", "*"):
        target = f"{PROXY}/artifacts/kept/{quote(name, safe='')}"
        assert http.put(target, content=name.encode()).status_code == 200, name
        assert http.get(target).content == name.encode(), name
        signed = http.get(f"{PROXY}/presigned/kept/{quote(name, safe='')}").json()
        assert httpx.get(signed["url"]).content == name.encode(), name
