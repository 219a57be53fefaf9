"""How fast `headrace import` moves a million points of an MLflow database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from deploy.local import Backends, provision
from deploy.local.testing import TestDatabase
from tests.component.tracking.importing import command, mlflow_database
from tests.component.tracking.process import TrackingProcess, prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUNS, KEYS, POINTS = 20, 5, 10_000


@pytest.fixture
def service(
    backends: Backends, database: TestDatabase, tmp_path: Path
) -> Iterator[TrackingProcess]:
    bucket = f"tracking-{uuid4().hex[:12]}"
    provision.bucket(backends, bucket)
    running = prepared(backends, database, bucket, tmp_path)
    running.start()
    yield running
    running.stop()


def spent(service: TrackingProcess) -> tuple[float, float]:
    """Seconds of CPU: of the importers that have ended, of the service so far."""
    assert service.process is not None
    ended, running = os.times(), psutil.Process(service.process.pid).cpu_times()
    return ended.children_user + ended.children_system, running.user + running.system


def test_a_million_points_of_a_database(service: TrackingProcess, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    run_ids = [uuid4().hex for _ in range(RUNS)]
    mlflow_database.write(file, "a million", run_ids, keys=KEYS, points=POINTS)
    for name, flags in (("first", ()), ("unchanged", ()), ("sent again", ("--again",))):
        before = spent(service)
        report = command.run("mlflow", file, *flags, url=service.url)
        importer, served = (now - then for now, then in zip(spent(service), before, strict=True))
        print(
            f"{name}: {report['points']:,} points in {report['seconds']:.2f} s,"
            f" {report['points'] / report['seconds']:,.0f} points/s;"
            f" CPU of the importer {importer:.2f} s, of the service {served:.2f} s"
        )
        assert report["failures"] == []
