"""An import that is killed in the middle, and then run again."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import httpx

from tests.component.tracking.importing import command, mlflow_database
from tests.component.tracking.process import TrackingProcess
from tests.harness.bus import until

API = "/api/2.0/mlflow"
KEYS, POINTS = 2, 15_000


def arrived(http: httpx.Client, run_id: str, key: int) -> list[tuple[int, int, float]]:
    answer = http.get(
        f"{API}/metrics/get-history", params={"run_id": run_id, "metric_key": f"m{key}"}
    )
    points = answer.json().get("metrics", ())
    return [(one["step"], one["timestamp"], one["value"]) for one in points]


def finished(http: httpx.Client, run_ids: list[str]) -> int:
    found = (http.get(f"{API}/runs/get", params={"run_id": run_id}) for run_id in run_ids)
    statuses = [one.json()["run"]["info"]["status"] for one in found if one.is_success]
    return statuses.count("FINISHED")


async def test_a_killed_import_goes_on_where_it_was(
    http: httpx.Client, tracking: TrackingProcess, tmp_path: Path
) -> None:
    run_ids = sorted(uuid4().hex for _ in range(10))
    database = tmp_path / "mlflow.db"
    mlflow_database.write(database, f"killed {uuid4()}", run_ids, keys=KEYS, points=POINTS)
    process = command.begin("mlflow", database, "--jobs", "2", url=tracking.url)
    await until(lambda: finished(http, run_ids) >= 2, what="the first runs", seconds=60)
    process.kill()
    process.communicate()
    assert finished(http, run_ids) < len(run_ids)

    report = command.run("mlflow", database, url=tracking.url)
    assert report["unchanged"] >= 2
    assert report["unchanged"] + report["runs"] == len(run_ids)
    for run_id in run_ids:
        for key in range(KEYS):
            assert arrived(http, run_id, key) == [
                (step, 1_000_000 + step, mlflow_database.value(key, step)) for step in range(POINTS)
            ]
