"""A real `mlflow server` on SQLite, filled by the real client."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
)

from tests.component.tracking.process import free_port

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass(frozen=True, kw_only=True)
class MlflowServer:
    """A running server, its database and its artifact folder."""

    url: str
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def database(self) -> Path:
        return self.directory / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.directory / "mlartifacts"

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)


def start(directory: Path, *, served: bool = True, seconds: float = 240) -> MlflowServer:
    """Start a server and wait until it answers; clients write files themselves if not `served`."""
    kept = str(directory / "mlartifacts")
    files = (
        ("--artifacts-destination", kept)
        if served
        else ("--no-serve-artifacts", "--default-artifact-root", kept)
    )
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = (directory / "server.log").open("ab")
    process = subprocess.Popen(
        [
            sys.executable,
            *("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}"),
            *(*files, "--workers", "1"),
        ],
        cwd=directory,
        env={**os.environ, **_QUIET},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    server = MlflowServer(url=url, directory=directory, process=process)
    deadline = time.monotonic() + seconds
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            raise AssertionError((directory / "server.log").read_text())
        time.sleep(0.2)
    return server


def fill(uri: str, *, prefix: str) -> str:
    """Everything that is imported, in experiments whose names begin with the prefix.

    Returns the id of the run that has most.
    """
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    first = client.create_experiment(f"{prefix} first", tags={"team": "blue"})
    parent = _full_run(client, first)
    _logged_model(client, first, parent)
    for number in range(3):
        child = client.create_run(first, tags={"mlflow.parentRunId": parent}, run_name=f"c{number}")
        client.log_metric(child.info.run_id, "loss", number)
        client.set_terminated(child.info.run_id, ("FAILED", "KILLED", "FINISHED")[number])
    doomed = client.create_run(first)
    client.log_param(doomed.info.run_id, "why", "not")
    client.delete_run(doomed.info.run_id)
    client.create_run(first, run_name="goes on")
    gone = client.create_experiment(f"{prefix} gone")
    run = client.create_run(gone)
    client.log_metric(run.info.run_id, "m", 1.0)
    client.delete_experiment(gone)
    client.create_experiment(f"{prefix} empty", tags={"note": ""})
    return parent


def add_long_history(database: Path, run_id: str, *, key: str, points: int) -> None:
    """Points straight into MLflow's tables: its own server takes minutes for so many."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.executemany(
            "insert into metrics (key, value, timestamp, step, is_nan, run_uuid)"
            " values (?, ?, ?, ?, 0, ?)",
            ((key, math.sin(step), 5_000 + step, step, run_id) for step in range(points)),
        )
        last = points - 1
        connection.execute(
            "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
            " values (?, ?, ?, ?, 0, ?)",
            (key, math.sin(last), 5_000 + last, last, run_id),
        )


def _full_run(client: MlflowClient, experiment: str) -> str:
    run = client.create_run(experiment, run_name="full", start_time=1_000)
    run_id = str(run.info.run_id)
    params = [Param("lr", "0.1"), Param("nested/depth", "3"), Param("empty", "")]
    client.log_batch(run_id, params=params)
    odd = [3.0, math.nan, math.inf, -math.inf, 1.0]
    client.log_batch(
        run_id, [Metric("odd", value, 10 + step, step - 2) for step, value in enumerate(odd)]
    )
    client.set_tag(run_id, "mlflow.note.content", "a note\nof two lines")
    client.log_text(run_id, "hello", "hello.txt")
    client.log_text(run_id, "", "deep/er/empty file.txt")
    client.log_dict(run_id, {"a": 1}, "deep/größe.json")
    dataset = Dataset("flights", "abc123", "local", '{"uri": "x"}', '{"cols": []}', '{"rows": 5}')
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(dataset, [context])])
    client.set_terminated(run_id, end_time=99_000)
    return run_id


def _logged_model(client: MlflowClient, experiment: str, run_id: str) -> None:
    model = client.create_logged_model(
        experiment, name="net", source_run_id=run_id, params={"depth": "3"}, tags={"t": "x"}
    )
    client.log_metric(run_id, "auc", 0.5, step=1, timestamp=77, model_id=model.model_id)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 4)])
    client.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    client.log_model_artifact(model.model_id, __file__)
    client.finalize_logged_model(model.model_id, "READY")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
