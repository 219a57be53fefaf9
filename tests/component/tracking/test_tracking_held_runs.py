"""A run that a transaction holds keeps its own writers waiting, and nobody else's."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import httpx

from deploy.local.testing import TestDatabase
from tests.component.tracking.process import TrackingProcess
from tests.harness.bus import until

API = "/api/2.0/mlflow"


async def new_run(http: httpx.AsyncClient) -> str:
    name = {"name": f"held {uuid4()}"}
    made = (await http.post(f"{API}/experiments/create", json=name)).json()
    run = (await http.post(f"{API}/runs/create", json={**made, "start_time": 1})).json()
    return str(run["run"]["info"]["run_id"])


async def log_param(http: httpx.AsyncClient, run_id: str) -> int:
    body = {"run_id": run_id, "key": "lr", "value": "1"}
    return (await http.post(f"{API}/runs/log-parameter", json=body)).status_code


async def waits_for_a_lock(database: TestDatabase) -> bool:
    connection = await asyncpg.connect(database.url("tracking"))
    try:
        return bool(
            await connection.fetchval(
                "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
                " and datname = current_database())"
            )
        )
    finally:
        await connection.close()


async def test_others_write_on_while_a_run_is_held_and_its_own_write_comes_after(
    own_tracking: TrackingProcess, database: TestDatabase
) -> None:
    connection = await asyncpg.connect(database.url("tracking"))
    async with httpx.AsyncClient(base_url=own_tracking.url, timeout=30) as http:
        held, other = await new_run(http), await new_run(http)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "select from tracking.run where run_id = $1 for no key update", held
        )
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(log_param(http, held)) for _ in range(3)]
            await until(lambda: waits_for_a_lock(database), what="a write that waits")
            assert await log_param(http, other) == 200
            assert not any(one.done() for one in waiting)
            await transaction.rollback()
        assert [one.result() for one in waiting] == [200, 200, 200]
    await connection.close()
