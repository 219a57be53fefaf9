"""A real MLflow server, its database and its folders, moved and compared by the real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.component.tracking.importing import command, comparing, mlflow_server
from tests.component.tracking.importing.mlflow_server import MlflowServer
from tests.component.tracking.process import TrackingProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    running = mlflow_server.start(tmp_path_factory.mktemp("mlflow"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def filled(server: MlflowServer) -> str:
    """The prefix of what is on the server."""
    prefix = f"server {uuid4()}"
    run_id = mlflow_server.fill(server.url, prefix=prefix)
    mlflow_server.add_long_history(server.database, run_id, key="train/loss", points=26_000)
    return prefix


@pytest.fixture(scope="module")
def expected(
    server: MlflowServer, filled: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return comparing.contents(server.url, prefix=filled, directory=tmp_path_factory.mktemp("here"))


def test_everything_on_a_server_arrives(
    server: MlflowServer,
    filled: str,
    expected: dict[str, Any],
    own_tracking: TrackingProcess,
    tmp_path: Path,
) -> None:
    report = command.run("mlflow", server.url, url=own_tracking.url)
    assert report["failures"] == []
    found = comparing.contents(own_tracking.url, prefix=filled, directory=tmp_path / "there")
    assert comparing.differences(found, expected) == {}

    again = command.run("mlflow", server.url, url=own_tracking.url)
    assert (again["runs"], again["models"], again["points"], again["files"]) == (0, 0, 0, 0)
    assert again["unchanged"] == report["runs"] + report["models"]


def test_everything_in_a_database_in_use_arrives(
    server: MlflowServer,
    filled: str,
    expected: dict[str, Any],
    own_tracking: TrackingProcess,
    tmp_path: Path,
) -> None:
    report = command.run("mlflow", server.database, url=own_tracking.url)
    assert report["failures"] == []
    found = comparing.contents(own_tracking.url, prefix=filled, directory=tmp_path / "there")
    assert comparing.differences(found, expected) == {}

    resent = command.run("mlflow", server.database, "--again", url=own_tracking.url)
    assert resent["files_present"] == report["files"]
    assert resent["files"] == 0
    twice = comparing.contents(own_tracking.url, prefix=filled, directory=tmp_path / "twice")
    assert comparing.differences(twice, expected) == {}


def test_everything_in_a_real_mlruns_folder_arrives(
    own_tracking: TrackingProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    root, prefix = tmp_path / "mlruns", f"files {uuid4()}"
    mlflow_server.fill(root.as_uri(), prefix=prefix)
    expected = comparing.contents(root.as_uri(), prefix=prefix, directory=tmp_path / "here")
    report = command.run("mlflow", root, url=own_tracking.url)
    assert report["failures"] == []
    found = comparing.contents(own_tracking.url, prefix=prefix, directory=tmp_path / "there")
    assert comparing.differences(found, expected) == {}


def test_files_that_clients_wrote_themselves_come_through_the_server(
    own_tracking: TrackingProcess, tmp_path: Path
) -> None:
    (tmp_path / "mlflow").mkdir()
    running = mlflow_server.start(tmp_path / "mlflow", served=False)
    try:
        prefix = f"unserved {uuid4()}"
        mlflow_server.fill(running.url, prefix=prefix)
        expected = comparing.contents(running.url, prefix=prefix, directory=tmp_path / "here")
        report = command.run("mlflow", running.url, url=own_tracking.url)
    finally:
        running.stop()
    assert report["failures"] == []
    found = comparing.contents(own_tracking.url, prefix=prefix, directory=tmp_path / "there")
    assert comparing.differences(found, expected) == {}
