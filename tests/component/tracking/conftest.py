"""A running tracking service and an unmodified MLflow client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import mlflow
import pytest
from mlflow import MlflowClient

from deploy.local import Backends, provision
from deploy.local.testing import TestDatabase, create_database, drop_database
from tests.component.tracking.process import TrackingProcess, prepared


@pytest.fixture(scope="session")
def tracking(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingProcess]:
    """A running service that tests share: each uses experiments of its own."""
    database = asyncio.run(create_database(backends))
    bucket = f"tracking-{uuid4().hex[:12]}"
    provision.bucket(backends, bucket)
    service = prepared(backends, database, bucket, tmp_path_factory.mktemp("tracking"))
    service.start()
    yield service
    service.stop()
    asyncio.run(drop_database(database))


@pytest.fixture
def idle_tracking(
    backends: Backends, database: TestDatabase, tmp_path: Path
) -> Iterator[TrackingProcess]:
    """A service of one test alone that is not started yet, for its environment to be changed."""
    bucket = f"tracking-{uuid4().hex[:12]}"
    provision.bucket(backends, bucket)
    service = prepared(backends, database, bucket, tmp_path)
    yield service
    service.stop()


@pytest.fixture
def own_tracking(idle_tracking: TrackingProcess) -> TrackingProcess:
    """A running service of one test alone, to be killed."""
    idle_tracking.start()
    return idle_tracking


@pytest.fixture
def client(tracking: TrackingProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """An unmodified MLflow client."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    # What `set_experiment` does lasts for the process: the next test begins without it.
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    mlflow.set_tracking_uri(tracking.url)
    yield MlflowClient(tracking.url)
    while mlflow.active_run() is not None:
        mlflow.end_run()
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    """The id of a fresh experiment."""
    return str(client.create_experiment(f"experiment {uuid4()}"))


@pytest.fixture
def http(tracking: TrackingProcess) -> Iterator[httpx.Client]:
    """Plain HTTP to the service."""
    with httpx.Client(base_url=tracking.url, timeout=20) as plain:
        yield plain


@pytest.fixture
def traced(experiment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The id of a fresh experiment that traces go to, each at once."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    mlflow.tracing.reset()
    mlflow.set_experiment(experiment_id=experiment)
    yield experiment
    mlflow.tracing.reset()
