"""Runs purged for good: rows, files, and nothing that belongs to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import httpx

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.blobs import Blobs
from services.tracking.store import purging
from tests.component.tracking.process import TrackingProcess

MLFLOW = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
TABLES = (
    "run",
    "run_log",
    "metric_chunk",
    "metric_summary",
    "param",
    "tag",
    "run_dataset",
    "run_model",
)


@asynccontextmanager
async def tables(database: TestDatabase) -> AsyncIterator[db.Connection]:
    """A connection to tracking's tables, without the service."""
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
    packages = (db.BUS_MIGRATIONS, "services.tracking.migrations")
    await db.migrate(pool, schema="tracking", packages=packages)
    async with pool.acquire() as connection:
        yield connection
    await pool.close()


def new_run(http: httpx.Client, experiment: str) -> str:
    """A run with something of everything."""
    made = http.post(f"{MLFLOW}/runs/create", json={"experiment_id": experiment, "start_time": 1})
    run_id = str(made.json()["run"]["info"]["run_id"])
    metric = {"key": "loss", "value": 0.5, "timestamp": 1, "step": 1}
    dataset = {"name": "d", "digest": run_id[:8], "source_type": "local", "source": "x"}
    for call, body in (
        ("runs/log-batch", {"metrics": [metric], "params": [{"key": "lr", "value": "1"}]}),
        ("runs/log-inputs", {"datasets": [{"dataset": dataset}], "models": [{"model_id": "m"}]}),
    ):
        assert http.post(f"{MLFLOW}/{call}", json={"run_id": run_id, **body}).status_code == 200
    for name in ("model/MLmodel", "notes.txt"):
        http.put(f"{PROXY}/{experiment}/{run_id}/artifacts/{name}", content=b"x")
    return run_id


def purge(http: httpx.Client, run_id: str) -> httpx.Response:
    return http.delete(f"/api/tracking/v1/runs/{run_id}")


def delete(http: httpx.Client, run_id: str) -> None:
    assert http.post(f"{MLFLOW}/runs/delete", json={"run_id": run_id}).status_code == 200


def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait for it, bounded."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def files(tracking: TrackingProcess, run_id: str) -> list[str]:
    """Keys in the bucket that name a run."""
    settings = {
        name: tracking.environment[f"HEADRACE_TRACKING_S3_{name.upper()}"]
        for name in ("endpoint", "bucket", "access_key", "secret_key")
    }

    async def found() -> list[str]:
        async with Blobs.open(**settings) as blobs:
            return [blob.key for blob in await blobs.list("") if run_id in blob.key]

    return asyncio.run(found())


def sql(tracking: TrackingProcess, statement: str, *arguments: object) -> list[object]:
    """First column of what a statement returns."""

    async def run() -> list[object]:
        connection = await asyncpg.connect(tracking.environment["HEADRACE_TRACKING_DATABASE_URL"])
        try:
            return [row[0] for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(run())


def rows(tracking: TrackingProcess, run_id: str) -> dict[str, object]:
    """How many rows each table has of a run."""
    return {
        table: sql(
            tracking,
            f"select count(*) from tracking.{table} where run_id = $1",  # noqa: S608
            run_id,
        )[0]
        for table in TABLES
    }


def there(http: httpx.Client, run_id: str) -> bool:
    return http.get(f"{MLFLOW}/runs/get", params={"run_id": run_id}).status_code == 200


def test_a_purged_run_is_gone_with_its_rows_and_files(
    tracking: TrackingProcess, http: httpx.Client, experiment: str
) -> None:
    doomed, other = new_run(http, experiment), new_run(http, experiment)
    kept = files(tracking, other)
    delete(http, doomed)
    assert purge(http, doomed).json() == {}
    assert not there(http, doomed)
    assert not any(rows(tracking, doomed).values())
    until(lambda: not files(tracking, doomed))
    assert files(tracking, other) == kept
    assert there(http, other)
    again = purge(http, doomed)
    assert (again.status_code, again.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_only_a_deleted_run_is_purged(
    tracking: TrackingProcess, http: httpx.Client, experiment: str
) -> None:
    run_id = new_run(http, experiment)
    answer = purge(http, run_id)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_STATE")
    delete(http, run_id)
    http.post(f"{MLFLOW}/runs/restore", json={"run_id": run_id})
    assert purge(http, run_id).status_code == 400
    assert len(files(tracking, run_id)) == 2


def test_files_of_a_purged_run_go_although_the_service_was_killed(
    own_tracking: TrackingProcess,
) -> None:
    with httpx.Client(base_url=own_tracking.url, timeout=20) as http:
        run_id = new_run(http, "0")
        delete(http, run_id)
        assert purge(http, run_id).status_code == 200
    own_tracking.kill()
    own_tracking.start()
    until(lambda: not files(own_tracking, run_id))


def test_files_that_come_after_the_purge_go_too(own_tracking: TrackingProcess) -> None:
    with httpx.Client(base_url=own_tracking.url, timeout=20) as http:
        run_id = new_run(http, "0")
        delete(http, run_id)
        assert purge(http, run_id).status_code == 200
        until(lambda: not files(own_tracking, run_id))
        http.put(f"{PROXY}/0/{run_id}/artifacts/late", content=b"x")
    sql(
        own_tracking,
        "update tracking.artifact_garbage set purged_at = now() - interval '9 days'"
        " where run_id = $1",
        run_id,
    )
    until(lambda: not files(own_tracking, run_id))
    until(lambda: not sql(own_tracking, "select run_id from tracking.artifact_garbage"))


async def test_a_purged_run_is_looked_at_again_when_no_signed_url_is_valid_any_more(
    database: TestDatabase,
) -> None:
    async with tables(database) as connection:
        for run_id, age in (("young", "7 days"), ("old", "9 days")):
            await connection.execute(
                "insert into artifact_garbage (run_id, project, purged_at, emptied_at)"
                " values ($1, 'default', now() - $2::text::interval, now())",
                run_id,
                age,
            )
        found = await purging.next_garbage(connection, project="default", without=())
        assert found is not None
        assert found.run_id == "old"
        await purging.forget(connection, found, back=False)
        assert await purging.next_garbage(connection, project="default", without=()) is None


async def test_files_that_cannot_be_removed_do_not_keep_others_waiting(
    database: TestDatabase,
) -> None:
    async with tables(database) as connection:
        for run_id, age in (("older", "2 minutes"), ("old", "1 minute")):
            await connection.execute(
                "insert into artifact_garbage (run_id, project, purged_at)"
                " values ($1, 'default', now() - $2::text::interval)",
                run_id,
                age,
            )
        found = await purging.next_garbage(connection, project="default", without={"older"})
        assert found is not None
        assert found.run_id == "old"


def test_a_batch_for_a_purged_run_counts_anew_when_the_run_is_imported_again(
    http: httpx.Client, experiment: str
) -> None:
    run_id = new_run(http, experiment)
    metrics = [{"key": "loss", "value": i, "timestamp": i, "step": i} for i in range(500)]
    batch = {"run_id": run_id, "metrics": metrics}
    assert http.post(f"{MLFLOW}/runs/log-batch", json=batch).status_code == 200
    delete(http, run_id)
    assert purge(http, run_id).status_code == 200
    name = http.get(f"{MLFLOW}/experiments/get", params={"experiment_id": experiment}).json()
    back = {
        "experiment": {"name": name["experiment"]["name"]},
        "run": {"run_id": run_id, "start_time": 1},
    }
    answer = http.post("/api/tracking/v1/imports/runs", json=back)
    assert answer.status_code == 200, answer.text
    assert http.post(f"{MLFLOW}/runs/log-batch", json=batch).status_code == 200
    history = http.get(
        f"{MLFLOW}/metrics/get-history", params={"run_id": run_id, "metric_key": "loss"}
    ).json()
    assert len(history["metrics"]) == 500


def test_files_in_a_place_that_others_share_are_kept(
    tracking: TrackingProcess, http: httpx.Client, experiment: str
) -> None:
    run_id, shared = new_run(http, experiment), f"shared-{uuid4()}"
    sql(
        tracking,
        "update tracking.run set artifact_uri = $2 where run_id = $1",
        run_id,
        f"mlflow-artifacts:/{shared}",
    )
    http.put(f"{PROXY}/{shared}/theirs", content=b"x")
    delete(http, run_id)
    assert purge(http, run_id).status_code == 200
    emptied = (
        "select run_id from tracking.artifact_garbage where run_id = $1 and emptied_at is not null"
    )
    until(lambda: bool(sql(tracking, emptied, run_id)))
    assert http.get(f"{PROXY}/{shared}/theirs").content == b"x"


def test_runs_that_were_deleted_long_ago_are_purged_if_so_set(
    idle_tracking: TrackingProcess,
) -> None:
    idle_tracking.environment["HEADRACE_TRACKING_PURGE_DELETED_DAYS"] = "30"
    idle_tracking.start()
    with httpx.Client(base_url=idle_tracking.url, timeout=20) as http:
        old, young, active = (new_run(http, "0") for _ in range(3))
        for run_id in (old, young):
            delete(http, run_id)
        sql(
            idle_tracking,
            "update tracking.run set deleted_at = now() - interval '31 days' where run_id = $1",
            old,
        )
        until(lambda: not there(http, old))
        assert there(http, young)
        assert there(http, active)
