"""Artifacts through the proxy to S3."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import mlflow
import pytest
from mlflow import MlflowClient

from tests.component.tracking.process import TrackingProcess

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def test_files_and_directories_go_up_are_listed_and_come_down(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha")
    (folder / "deep" / "empty.bin").write_bytes(b"")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifacts(str(folder), "out")
        mlflow.log_dict({"x": 1}, "conf/one.json")
        mlflow.log_text("hello", "say ü.txt")
    run_id = run.info.run_id
    listed = {one.path: (one.is_dir, one.file_size) for one in client.list_artifacts(run_id)}
    assert listed == {"conf": (True, None), "out": (True, None), "say ü.txt": (False, 5)}
    inner = {one.path for one in client.list_artifacts(run_id, "out")}
    assert inner == {"out/a.txt", "out/deep"}
    assert client.list_artifacts(run_id, "out/a.txt") == []
    down = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(tmp_path / "down")))
    assert (down / "out" / "a.txt").read_text() == "alpha"
    assert (down / "out" / "deep" / "empty.bin").read_bytes() == b""
    assert json.loads((down / "conf" / "one.json").read_text()) == {"x": 1}
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/say ü.txt") == "hello"


def test_a_file_of_many_parts_is_stored_whole(http: httpx.Client) -> None:
    path = f"{PROXY}/big/{uuid4()}"
    part = bytes(range(256)) * 4096

    def body() -> Iterator[bytes]:
        for _ in range(33):
            yield part

    assert http.put(path, content=body()).json() == {}
    with http.stream("GET", path) as answer:
        assert answer.headers["content-length"] == str(33 * len(part))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert b"".join(answer.iter_bytes()) == part * 33


def test_an_upload_that_breaks_off_leaves_nothing(
    tracking: TrackingProcess, http: httpx.Client
) -> None:
    path = f"{PROXY}/{uuid4()}/half"
    host, port = tracking.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n"
        line.sendall(head.encode() + b"x" * 500_000)
    assert http.get(path).status_code == 404
    assert http.put(path, content=b"whole").status_code == 200
    assert http.get(path).content == b"whole"
    assert "call_failed" not in tracking.log.read_text()


def test_text_files_are_named_text(http: httpx.Client) -> None:
    folder = f"{PROXY}/{uuid4()}"
    http.put(f"{folder}/MLmodel", content=b"flavors: {}")
    answer = http.get(f"{folder}/MLmodel")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "attachment" in answer.headers["content-disposition"]


def test_a_directory_is_deleted_with_all_that_lies_in_it(
    http: httpx.Client, client: MlflowClient, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    for name in ("d/a", "d/b/c", "da"):
        http.put(f"{PROXY}/{experiment}/{run_id}/artifacts/{name}", content=b"x")
    http.delete(f"{PROXY}/{experiment}/{run_id}/artifacts/d")
    assert [one.path for one in client.list_artifacts(run_id)] == ["da"]


@pytest.mark.parametrize(
    "path",
    [
        "..%2Fsecret",
        "a/%2e%2e/%2e%2e/b",
        "%2Fetc/passwd",
        "a%23b",
        "a%5C..%5Cb",
        "%252e%252e/x",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_that_leaves_its_root_is_refused(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, f"{PROXY}/{path}", content=b"x" if method == "PUT" else None)
    assert answer.status_code == 400
    assert answer.json() == {"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid path"}


def test_a_file_that_is_not_there_is_not_found(http: httpx.Client) -> None:
    answer = http.get(f"{PROXY}/{uuid4()}/nothing")
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_clients_that_ask_for_parts_fall_back_to_one_piece(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "5242880")
    big = tmp_path / "big.bin"
    big.write_bytes(b"0123456789abcdef" * 400_000)
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifact(str(big))
    down = mlflow.artifacts.download_artifacts(
        f"runs:/{run.info.run_id}/big.bin", dst_path=str(tmp_path / "down")
    )
    assert Path(down).read_bytes() == big.read_bytes()
