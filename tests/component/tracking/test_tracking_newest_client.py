"""A client of the newest MLflow: files go by this server or straight to S3, as it is told."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.component.tracking.process import TrackingProcess
from tests.harness.newest_mlflow import run_newest

SCRIPT = Path(__file__).with_name("newest_client.py")
FILES = [
    "big.bin",
    "one.json",
    "out/a.txt",
    "out/deep/empty.bin",
    "say ü.txt",
    "square.png",
    "table.json",
]


def parts_of(tracking: TrackingProcess, root: object) -> dict[str, int]:
    """In how many parts each file came to S3; 0 for one that came through the server."""
    counts = {}
    with httpx.Client(base_url=tracking.url) as http:
        for name in FILES:
            head = http.head(f"/api/2.0/mlflow-artifacts/artifacts/{root}/{name}")
            _, dash, count = head.headers["etag"].strip('"').partition("-")
            counts[name] = int(count) if dash else 0
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["proxy", "auto", "direct-only"])
def test_every_kind_of_artifact_goes_up_and_comes_down(
    idle_tracking: TrackingProcess, tmp_path: Path, transfer: str
) -> None:
    idle_tracking.environment["HEADRACE_TRACKING_ARTIFACT_TRANSFER"] = transfer
    idle_tracking.start()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = run_newest(
        SCRIPT,
        idle_tracking.url,
        str(scratch),
        environment={"MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "10000000"},
    )
    assert done["version"] == "3.18.0"
    assert done["listed"] == [*FILES[:2], "out", *FILES[4:]]
    assert done["inner"] == ["out/a.txt", "out/deep"]
    assert done["files"] == FILES
    assert (done["same"], done["text"], done["table"]) == (True, "hello", [1, 2])
    parts = parts_of(idle_tracking, done["root"])
    if transfer == "direct-only":
        assert parts == {**dict.fromkeys(FILES, 1), "big.bin": 3}
    if transfer == "auto":
        assert parts == {**dict.fromkeys(FILES, 0), "big.bin": 3}
