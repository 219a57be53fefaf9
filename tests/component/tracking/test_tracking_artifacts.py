"""Artifacts through the proxy to S3."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import mlflow
import numpy as np
import pytest
from matplotlib import pyplot as plt
from mlflow import MlflowClient
from PIL import Image

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


def test_figures_images_and_tables_come_back_as_they_went(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    table = {"question": ["a", "b"], "score": [0.5, 1.5]}
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_figure(figure, "plots/line.png")
        mlflow.log_image(pixels, "square.png")
        mlflow.log_image(pixels, key="shown", step=1)
        mlflow.log_table(table, "table.json")
        mlflow.log_table({"question": ["c"], "score": [2.5]}, "table.json")
    plt.close(figure)
    loaded = client.load_table(experiment, "table.json", run_ids=[run.info.run_id])
    assert loaded["question"].tolist() == ["a", "b", "c"]
    assert loaded["score"].tolist() == [0.5, 1.5, 2.5]
    names = [one.path for one in client.list_artifacts(run.info.run_id)]
    assert names == ["images", "plots", "square.png", "table.json"]
    down = mlflow.artifacts.download_artifacts(
        f"runs:/{run.info.run_id}/square.png", dst_path=str(tmp_path)
    )
    with Image.open(down) as square:
        assert np.array_equal(np.asarray(square), pixels)


def test_a_directory_is_read_by_pages(http: httpx.Client, experiment: str) -> None:
    run_id = http.post(
        "/api/2.0/mlflow/runs/create", json={"experiment_id": experiment, "start_time": 1}
    ).json()["run"]["info"]["run_id"]
    names = ["a", "b/c", "b/d", "e", "f/g"]
    for name in names:
        http.put(f"{PROXY}/{experiment}/{run_id}/artifacts/in/{name}", content=b"x")
    asked: dict[str, str | int] = {"run_id": run_id, "path": "in", "max_results": 2}
    seen: list[str] = []
    for _ in range(3):
        page = http.get("/api/2.0/mlflow/artifacts/list", params=asked).json()
        seen += [one["path"] for one in page["files"]]
        if "next_page_token" not in page:
            break
        assert len(page["files"]) == 2
        asked["page_token"] = page["next_page_token"]
    assert seen == ["in/a", "in/b", "in/e", "in/f"]


def test_a_file_of_a_run_is_served_to_pages(http: httpx.Client, experiment: str) -> None:
    run_id = http.post(
        "/api/2.0/mlflow/runs/create", json={"experiment_id": experiment, "start_time": 1}
    ).json()["run"]["info"]["run_id"]
    sent = http.post(
        "/ajax-api/2.0/mlflow/upload-artifact",
        params={"run_uuid": run_id, "path": "notes/one.txt"},
        content=b"hello",
    )
    assert sent.json() == {}
    for name in ("run_id", "run_uuid"):
        answer = http.get("/get-artifact", params={name: run_id, "path": "notes/one.txt"})
        assert (answer.status_code, answer.text) == (200, "hello")
    assert http.get("/get-artifact", params={"run_id": run_id}).status_code == 400
    gone = http.get("/get-artifact", params={"run_id": run_id, "path": "notes/two.txt"})
    assert gone.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    too_large = http.post(
        "/ajax-api/2.0/mlflow/upload-artifact",
        params={"run_id": run_id, "path": "large"},
        content=bytes(10 * 1024 * 1024 + 1),
    )
    assert "Max size is 10MB" in too_large.json()["message"]


def test_a_file_of_a_logged_model_is_served_to_pages(http: httpx.Client, experiment: str) -> None:
    model = http.post("/api/2.0/mlflow/logged-models", json={"experiment_id": experiment}).json()
    info = model["model"]["info"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    http.put(f"{PROXY}/{root}/conda.yaml", content=b"name: env")
    files = f"/ajax-api/2.0/mlflow/logged-models/{info['model_id']}/artifacts/files"
    asked = {"artifact_file_path": "conda.yaml"}
    assert http.get(files, params=asked).text == "name: env"
    signed = http.get(files, params={**asked, "presigned": "true"}).json()
    assert signed["file_size"] == 9
    assert httpx.get(signed["url"]).text == "name: env"
