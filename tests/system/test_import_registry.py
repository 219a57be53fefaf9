"""Registered models of a real MLflow server, moved through the front door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from deploy.local import Stack
from tests.component.tracking.importing import command, mlflow_server
from tests.component.tracking.importing.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def front() -> Iterator[str]:
    with Stack.temporary(services=("tracking", "registry")) as running:
        yield running.urls["front"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    running = mlflow_server.start(tmp_path_factory.mktemp("mlflow"))
    yield running
    running.stop()


def filled(url: str) -> None:
    """A model with a gap in its versions, a stage, aliases and tags."""
    mlflow.set_tracking_uri(url)
    client = MlflowClient(url)
    run_id = client.create_run(client.create_experiment("registered")).info.run_id
    client.log_text(run_id, "weights", "model/weights.txt")
    client.create_registered_model("net", tags={"team": "blue"}, description="a net")
    for number in range(1, 5):
        client.create_model_version(
            "net",
            f"runs:/{run_id}/model",
            run_id,
            tags={"number": str(number)},
            description=f"the {number}.",
        )
    client.delete_model_version("net", "2")
    client.transition_model_version_stage("net", "3", "Staging")
    client.set_registered_model_alias("net", "best", "4")
    client.set_registered_model_alias("net", "old", "1")


def contents(url: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(url)
    client = MlflowClient(url)
    model = client.get_registered_model("net")
    versions = client.search_model_versions("name = 'net'")
    return {
        "model": (model.description, model.tags),
        "aliases": {alias: int(number) for alias, number in model.aliases.items()},
        "versions": {
            int(one.version): (
                one.description,
                one.run_id,
                one.current_stage,
                {key: text for key, text in one.tags.items() if not key.startswith("headrace.")},
            )
            for one in versions
        },
    }


def test_versions_keep_their_numbers_stages_and_aliases(server: MlflowServer, front: str) -> None:
    filled(server.url)
    expected = contents(server.url)
    report = command.run("mlflow", server.url, url=front)
    assert (report["registered_models"], report["versions"]) == (1, 3)
    assert report["failures"] == []
    assert contents(front) == expected
    assert set(expected["versions"]) == {1, 3, 4}

    again = command.run("mlflow", server.url, url=front)
    assert again["failures"] == []
    assert contents(front) == expected
