"""The folder goes on with all other runs, whatever one of them holds."""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import httpx
import numpy as np
import pytest

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.bus import Caller, Tx
from services.tracking.domain.entries import NewRun, entry_of, entry_of_point
from services.tracking.domain.points import Columns
from services.tracking.store import folding, writes
from services.tracking.store.log import append
from services.tracking.store.unfolded import MAX_POINTS, MAX_ROWS
from tests.component.tracking.process import TrackingProcess
from tests.harness.bus import until

API = "/api/2.0/mlflow"


def new_experiment(http: httpx.Client) -> str:
    made = http.post(f"{API}/experiments/create", json={"name": f"folder {uuid4()}"}).json()
    return str(made["experiment_id"])


def new_run(http: httpx.Client, experiment: str | None = None) -> str:
    home = experiment or new_experiment(http)
    run = http.post(f"{API}/runs/create", json={"experiment_id": home, "start_time": 1})
    return str(run.json()["run"]["info"]["run_id"])


def log_point(http: httpx.Client, run_id: str) -> None:
    point = {"run_id": run_id, "key": "loss", "value": 1.0, "timestamp": 1, "step": 1}
    assert http.post(f"{API}/runs/log-metric", json=point).status_code == 200


def runs_with_loss(http: httpx.Client, experiment: str) -> list[str]:
    search = {"experiment_ids": [experiment], "filter": "metrics.loss = 1"}
    answer = http.post(f"{API}/runs/search", json=search)
    assert answer.status_code == 200, answer.text
    return [str(run["info"]["run_id"]) for run in answer.json()["runs"]]


@pytest.mark.parametrize("is_there", [True, False], ids=["undecodable", "gone"])
async def test_a_run_that_cannot_be_folded_keeps_no_other_from_it(
    own_tracking: TrackingProcess, database: TestDatabase, is_there: bool
) -> None:
    connection = await asyncpg.connect(database.url("tracking"))
    with httpx.Client(base_url=own_tracking.url, timeout=20) as http:
        stuck = new_run(http) if is_there else uuid4().hex
        await connection.execute(
            "insert into tracking.run_log (run_id, digest, points, keys, codec, body)"
            " select $1, decode(md5(number::text), 'hex'), 1, 'loss', 1, 'not compressed'"
            " from generate_series(1, $2) as number",
            stuck,
            MAX_ROWS + 1,
        )
        run_id = new_run(http)
        log_point(http, run_id)

        async def is_folded() -> bool:
            return bool(
                await connection.fetchval(
                    "select exists (select from tracking.metric_summary where run_id = $1)", run_id
                )
            )

        await until(is_folded, seconds=20)
    await connection.close()


async def test_a_search_goes_on_without_what_cannot_be_folded(
    own_tracking: TrackingProcess, database: TestDatabase
) -> None:
    connection = await asyncpg.connect(database.url("tracking"))
    with httpx.Client(base_url=own_tracking.url, timeout=20) as http:
        experiment = new_experiment(http)
        stuck, found = new_run(http, experiment), new_run(http, experiment)
        await connection.execute(
            "insert into tracking.run_log (run_id, digest, points, keys, codec, body)"
            " values ($1, decode(md5('x'), 'hex'), 1, 'loss', 1, 'not compressed')",
            stuck,
        )
        log_point(http, found)
        for _ in range(2):
            assert runs_with_loss(http, experiment) == [found]
    await connection.close()


async def test_a_fold_has_an_end_though_others_go_on_writing(database: TestDatabase) -> None:
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
    packages = (db.BUS_MIGRATIONS, "services.tracking.migrations")
    await db.migrate(pool, schema="tracking", packages=packages)
    run_id = uuid4().hex
    async with pool.acquire() as connection:
        tx = Tx(connection=connection, caller=Caller.none())
        new = NewRun(run_id=run_id, experiment=0, name="n", start_time=1)
        await writes.start_run(tx, new, project="default")
        for step in range(2):
            entry = entry_of_point(run_id, ("loss", 1.0, step, step))
            (last,) = (await append(connection, [entry], project="default")).points
        async with connection.transaction():
            await folding.fold(tx, [run_id], project="default", last=last - 1)
        assert await connection.fetchval("select points from metric_summary") == 1
        assert await connection.fetchval("select log_id from run_log") == last
    await pool.close()


async def test_a_fold_takes_all_that_it_can_of_a_run_before_the_next(
    database: TestDatabase,
) -> None:
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
    packages = (db.BUS_MIGRATIONS, "services.tracking.migrations")
    await db.migrate(pool, schema="tracking", packages=packages)
    run_ids = [uuid4().hex for _ in range(2)]
    async with pool.acquire() as connection:
        tx = Tx(connection=connection, caller=Caller.none())
        for run_id in run_ids:
            new = NewRun(run_id=run_id, experiment=0, name="n", start_time=1)
            await writes.start_run(tx, new, project="default")
        await folding.fold_all(tx, run_ids, project="default")
        for write in range(4):
            columns = _points(count=MAX_POINTS // 2, first=write * MAX_POINTS)
            entries = [entry_of(run_ids[write % 2], columns)]
            await append(connection, entries, project="default")
        async with connection.transaction():
            await folding.fold(tx, run_ids, project="default")
        left = await connection.fetch("select distinct run_id from run_log")
    assert [row["run_id"] for row in left] == [run_ids[1]]
    await pool.close()


def _points(*, count: int, first: int) -> Columns:
    steps = np.arange(first, first + count)
    return Columns(
        keys=("loss",),
        places=np.zeros(count, dtype=np.uint32),
        values=np.ones(count),
        timestamps=steps,
        steps=steps,
    )
