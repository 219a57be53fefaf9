"""Artifacts straight to S3: uploads in parts and downloads by signed URLs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.utils import server_info

from deploy.local import Backends
from tests.component.tracking.process import TrackingProcess

MPU = "/api/2.0/mlflow-artifacts/mpu"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
PART = 5 * 1024 * 1024


@pytest.fixture(autouse=True)
def _fresh_client() -> None:
    """Clients ask what a server can do once a minute."""
    server_info._clear_server_info_cache()


def new_run(http: httpx.Client, experiment: str) -> str:
    made = http.post(
        "/api/2.0/mlflow/runs/create", json={"experiment_id": experiment, "start_time": 1}
    )
    return str(made.json()["run"]["info"]["run_id"])


def begun(http: httpx.Client, directory: str, name: str, parts: int) -> tuple[str, list[str]]:
    answer = http.post(f"{MPU}/create/{directory}", json={"path": name, "num_parts": parts})
    document = answer.json()
    urls = [one["url"] for one in document["credentials"]]
    assert [one["part_number"] for one in document["credentials"]] == list(range(1, parts + 1))
    return document["upload_id"], urls


def finish(
    http: httpx.Client, directory: str, name: str, upload_id: str, etags: list[str]
) -> httpx.Response:
    parts = [{"part_number": 1 + at, "etag": etag, "url": ""} for at, etag in enumerate(etags)]
    body = {"path": name, "upload_id": upload_id, "parts": parts}
    return http.post(f"{MPU}/complete/{directory}", json=body)


def test_the_unmodified_client_goes_straight_to_s3(
    http: httpx.Client, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(PART))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(PART))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(PART))
    big = tmp_path / "big ü.bin"
    big.write_bytes(bytes(range(256)) * 50_000)
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifact(str(big), "deep/er")
    where = f"{PROXY}/{experiment}/{run.info.run_id}/artifacts/deep/er/big ü.bin"
    assert http.head(where).headers["etag"].strip('"').endswith("-3"), "it came in three parts"
    down = mlflow.artifacts.download_artifacts(
        f"runs:/{run.info.run_id}/deep/er/big ü.bin", dst_path=str(tmp_path / "down")
    )
    assert Path(down).read_bytes() == big.read_bytes()


def test_small_files_and_tables_come_down_by_signed_urls(
    client: MlflowClient, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_text("", "empty.txt")
        mlflow.log_dict({"x": 1}, "in/one.json")
        mlflow.log_table({"a": [1]}, "table.json")
    down = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path)))
    assert (down / "empty.txt").read_bytes() == b""
    assert client.load_table(experiment, "table.json")["a"].tolist() == [1]
    assert len(client.list_artifacts(run.info.run_id)) == 3


def test_nothing_is_visible_before_the_upload_is_complete(http: httpx.Client) -> None:
    directory = str(uuid4())
    upload_id, urls = begun(http, directory, "/home/me/two.bin", 2)
    parts = [b"a" * PART, b"b" * 10]
    etags = [
        httpx.put(url, content=part).headers["etag"] for url, part in zip(urls, parts, strict=True)
    ]
    assert http.get(f"{PROXY}/{directory}/two.bin").status_code == 404
    assert http.get(PROXY, params={"path": directory}).json() == {"files": []}
    assert finish(http, directory, "two.bin", upload_id, etags).json() == {}
    assert http.get(f"{PROXY}/{directory}/two.bin").content == b"".join(parts)


def test_completing_an_upload_again_changes_nothing(http: httpx.Client) -> None:
    directory = str(uuid4())
    upload_id, urls = begun(http, directory, "one", 1)
    etag = httpx.put(urls[0], content=b"whole").headers["etag"]
    for _ in range(2):
        assert finish(http, directory, "one", upload_id, [etag]).json() == {}
    assert http.get(f"{PROXY}/{directory}/one").content == b"whole"


def test_an_aborted_upload_leaves_nothing(http: httpx.Client) -> None:
    directory = str(uuid4())
    upload_id, urls = begun(http, directory, "gone", 1)
    etag = httpx.put(urls[0], content=b"x").headers["etag"]
    for _ in range(2):
        answer = http.post(
            f"{MPU}/abort/{directory}", json={"path": "gone", "upload_id": upload_id}
        )
        assert answer.json() == {}
    late = finish(http, directory, "gone", upload_id, [etag])
    assert (late.status_code, late.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert http.get(f"{PROXY}/{directory}/gone").status_code == 404


def test_parts_that_were_not_sent_are_refused(http: httpx.Client) -> None:
    directory = str(uuid4())
    upload_id, urls = begun(http, directory, "holes", 2)
    etag = httpx.put(urls[0], content=b"x" * PART).headers["etag"]
    answer = finish(http, directory, "holes", upload_id, [etag, "0" * 32])
    assert answer.status_code == 400
    assert http.get(f"{PROXY}/{directory}/holes").status_code == 404


def test_an_upload_without_parts_is_an_empty_file(http: httpx.Client) -> None:
    directory = str(uuid4())
    upload_id, _ = begun(http, directory, "empty", 0)
    assert finish(http, directory, "empty", upload_id, []).json() == {}
    assert http.get(f"{PROXY}/{directory}/empty").content == b""


@pytest.mark.parametrize(
    ("name", "kept"),
    [("/home/me/x.txt", "x.txt"), ("C:\\Users\\me\\y.txt", "y.txt"), ("a b%20c.txt", "a b c.txt")],
)
def test_only_the_base_name_of_an_uploaded_file_counts(
    http: httpx.Client, name: str, kept: str
) -> None:
    directory = str(uuid4())
    upload_id, urls = begun(http, directory, name, 1)
    etag = httpx.put(urls[0], content=b"x").headers["etag"]
    finish(http, directory, name, upload_id, [etag])
    files = http.get(PROXY, params={"path": directory}).json()["files"]
    assert files == [{"path": kept, "is_dir": False, "file_size": 1}]


@pytest.mark.parametrize("count", [-1, 10_001])
def test_more_parts_than_s3_takes_are_refused(http: httpx.Client, count: int) -> None:
    answer = http.post(f"{MPU}/create/d", json={"path": "x", "num_parts": count})
    assert answer.status_code == 400
    assert "num_parts" in answer.json()["message"]


@pytest.mark.parametrize("upload_id", ["../../../buckets", "a/b", "", "x" * 1025, "..", "%2e%2e"])
@pytest.mark.parametrize("verb", ["complete", "abort"])
def test_an_upload_id_that_could_be_a_path_is_refused(
    http: httpx.Client, verb: str, upload_id: str
) -> None:
    body = {"path": "x", "upload_id": upload_id, "parts": [{"part_number": 1, "etag": "e"}]}
    answer = http.post(f"{MPU}/{verb}/d", json=body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_signed_url_reads_ranges_and_only_its_file(http: httpx.Client) -> None:
    path = f"{uuid4()}/some.bin"
    http.put(f"{PROXY}/{path}", content=b"0123456789")
    answer = http.get(f"/api/2.0/mlflow-artifacts/presigned/{path}").json()
    assert answer["file_size"] == 10
    assert answer["headers"] == {}
    part = httpx.get(answer["url"], headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert httpx.put(answer["url"], content=b"x").status_code == 403
    assert httpx.get(answer["url"].replace("some.bin", "other.bin")).status_code == 403
    missing = http.get("/api/2.0/mlflow-artifacts/presigned/not/there")
    assert missing.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_a_file_of_a_run_is_written_and_read_by_signed_urls(
    http: httpx.Client, experiment: str
) -> None:
    run_id = new_run(http, experiment)
    asked = {"run_id": run_id, "path": "in/one.txt", "expiration": 60}
    upload = http.post("/api/2.0/mlflow/artifacts/presigned-upload-url", json=asked).json()
    assert httpx.put(upload["presigned_url"], content=b"hello").status_code == 200
    download = http.post("/api/2.0/mlflow/artifacts/presigned-download-url", json=asked).json()
    assert download["file_size"] == 5
    assert httpx.get(download["presigned_url"]).text == "hello"
    assert http.get(f"{PROXY}/{experiment}/{run_id}/artifacts/in/one.txt").text == "hello"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expiration": 0}, "between 1 and 604800"),
        ({"expiration": 604_801}, "between 1 and 604800"),
        ({"model_id": "m-1"}, "Exactly one of run_id and model_id"),
        ({"run_id": None}, "Exactly one of run_id and model_id"),
        ({"path": None}, "Missing value for required parameter 'path'"),
        ({"path": "../x"}, "Invalid path"),
    ],
)
@pytest.mark.parametrize("verb", ["upload", "download"])
def test_what_cannot_be_signed_is_refused(
    http: httpx.Client, experiment: str, verb: str, change: dict[str, object], message: str
) -> None:
    run_id = new_run(http, experiment)
    http.put(f"{PROXY}/{experiment}/{run_id}/artifacts/there", content=b"x")
    body = {"run_id": run_id, "path": "there", **change}
    answer = http.post(f"/api/2.0/mlflow/artifacts/presigned-{verb}-url", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_clients_are_told_to_go_straight_to_s3_where_both_are_on_loopback(
    http: httpx.Client,
) -> None:
    told = http.get("/api/3.0/mlflow/server-info").json()
    assert told["multipart_uploads_enabled"] is True
    assert told["multipart_downloads_enabled"] is True
    assert told["artifacts_presigned_only"] is False


def test_urls_are_signed_for_the_host_that_clients_reach(
    idle_tracking: TrackingProcess, backends: Backends
) -> None:
    public = backends.s3_endpoint.replace("127.0.0.1", "localhost")
    idle_tracking.environment["HEADRACE_TRACKING_ARTIFACT_TRANSFER"] = "direct-only"
    idle_tracking.environment["HEADRACE_TRACKING_S3_PUBLIC_ENDPOINT"] = public
    idle_tracking.start()
    with httpx.Client(base_url=idle_tracking.url) as http:
        assert http.get("/api/3.0/mlflow/server-info").json()["artifacts_presigned_only"] is True
        upload_id, urls = begun(http, "d", "x", 1)
        assert urlsplit(urls[0]).hostname == "localhost"
        etag = httpx.put(urls[0], content=b"signed for it").headers["etag"]
        assert finish(http, "d", "x", upload_id, [etag]).json() == {}


def test_clients_that_ask_for_parts_in_vain_fall_back_to_one_piece(
    idle_tracking: TrackingProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle_tracking.environment["HEADRACE_TRACKING_ARTIFACT_TRANSFER"] = "proxy"
    idle_tracking.start()
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(PART))
    mlflow.set_tracking_uri(idle_tracking.url)
    big = tmp_path / "big.bin"
    big.write_bytes(b"0123456789abcdef" * 400_000)
    with mlflow.start_run(experiment_id="0") as run:
        mlflow.log_artifact(str(big))
    down = mlflow.artifacts.download_artifacts(
        f"runs:/{run.info.run_id}/big.bin", dst_path=str(tmp_path / "down")
    )
    assert Path(down).read_bytes() == big.read_bytes()
