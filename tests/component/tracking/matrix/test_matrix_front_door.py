"""What a client does with tracking and the registry under the one URL of the front door."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from deploy.local import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def front() -> Iterator[str]:
    """The URL of a stack with tracking and the registry."""
    with Stack.temporary(services=("tracking", "registry")) as stack:
        yield stack.urls["front"]


@pytest.fixture
def client(front: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """An unmodified client of the front door."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(front)
    return MlflowClient(front)


def test_a_model_is_logged_registered_aliased_and_loaded_by_alias(client: MlflowClient) -> None:
    name = f"taxi-{uuid4().hex[:8]}"
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    fitted = LinearRegression().fit(x, y)
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            fitted,
            name="model",
            signature=infer_signature(x, y),
            pip_requirements=["scikit-learn"],
        )
    first = mlflow.register_model(info.model_uri, name, tags={"kind": "linear"})
    second = mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    assert (first.version, second.version) == ("1", "2")
    assert (first.run_id, second.run_id) == (run.info.run_id, run.info.run_id)
    client.set_registered_model_alias(name, "champion", "1")
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert np.allclose(loaded.predict(x), y)
    assert client.get_model_version_by_alias(name, "champion").tags == {"kind": "linear"}


def test_the_command_line_client_makes_renames_deletes_and_restores(
    client: MlflowClient, front: str
) -> None:
    name = f"cli {uuid4()}"
    run_cli(front, "create", "-n", name)
    found = client.get_experiment_by_name(name)
    assert found is not None
    number = found.experiment_id
    run_cli(front, "rename", "-x", number, "--new-name", f"{name} again")
    run_cli(front, "delete", "-x", number)
    assert client.get_experiment(number).lifecycle_stage == "deleted"
    run_cli(front, "restore", "-x", number)
    restored = client.get_experiment(number)
    assert (restored.name, restored.lifecycle_stage) == (f"{name} again", "active")


def run_cli(front: str, *arguments: str) -> None:
    """Run `mlflow experiments ...` as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "experiments", *arguments],
        env={**os.environ, "MLFLOW_TRACKING_URI": front},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
