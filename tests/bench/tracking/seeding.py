"""Finished runs with ten metrics and ten params each, for searches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Final
from uuid import UUID

import asyncpg
import httpx

from headrace.events import MetricColumn, RunReported
from tests.bench.tracking import api
from tests.bench.tracking.reports import end_of_intake, publish, until_taken
from tests.bench.tracking.requests import API
from tests.bench.tracking.servers import Ours, Server

_COLUMNS: Final = 10
_SECONDS: Final = 180.0


def seed(server: Server, runs: int) -> str:
    """The id of an experiment that holds so many of them.

    Ours come by reports, the peer's by SQL: its API would take an hour. Raises
    AssertionError when they are not all there in time.
    """
    if isinstance(server, Ours):
        return asyncio.run(_by_reports(server, runs))
    home = api.experiment(server)
    asyncio.run(_by_sql(server, int(home), runs))
    return home


async def _by_reports(ours: Ours, runs: int) -> str:
    kafka, name = ours.stack.backends.kafka, "bench search"
    await publish(kafka, _reports(name, runs))
    goal = await end_of_intake(kafka)
    assert await until_taken(ours, goal, seconds=_SECONDS), "the runs were not taken in time"
    async with httpx.AsyncClient(base_url=ours.url) as http:
        query = {"experiment_name": name}
        found = await http.get(f"{API}/experiments/get-by-name", params=query)
        return str(found.json()["experiment"]["experiment_id"])


def _reports(experiment: str, runs: int) -> Iterator[RunReported]:
    random = Random(5)
    for number in range(runs):
        moment = 1_760_000_000_000 + number * 1000
        yield RunReported(
            run_id=UUID(int=random.getrandbits(128), version=4).hex,
            experiment=experiment,
            run_name=f"run {number}",
            status="FINISHED",
            start_time=moment,
            end_time=moment + 900,
            params={f"param_{n}": f"value {random.randrange(10)}" for n in range(_COLUMNS)},
            tags={"mlflow.user": "bench"},
            metrics=[
                MetricColumn(
                    key=f"metric_{n}", values=[random.random()], steps=[1], timestamps=[moment]
                )
                for n in range(_COLUMNS)
            ],
        )


async def _by_sql(server: Server, home: int, runs: int) -> None:
    connection = await asyncpg.connect(server.database_url)
    try:
        await connection.execute("select setseed(0.5)")
        await connection.execute(_RUNS, home, runs)
        for statement in (_METRICS, _PARAMS):
            await connection.execute(statement, home, _COLUMNS)
        await connection.execute("analyze")
    finally:
        await connection.close()


_RUNS: Final = """
insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,
    start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
select md5(n::text), 'run ' || n, 'UNKNOWN', '', '', 'bench', 'FINISHED',
    1760000000000 + n * 1000::bigint, 1760000000900 + n * 1000::bigint, '', 'active',
    'mlflow-artifacts:/' || $1::int || '/' || md5(n::text) || '/artifacts', $1::int
from generate_series(1, $2::int) as n
"""
_METRICS: Final = """
insert into latest_metrics (run_uuid, key, value, timestamp, step, is_nan)
select run_uuid, 'metric_' || m, random(), start_time, 1, false
from runs, generate_series(0, $2::int - 1) as m where experiment_id = $1::int
"""
_PARAMS: Final = """
insert into params (run_uuid, key, value)
select run_uuid, 'param_' || p, 'value ' || (random() * 10)::int % 10
from runs, generate_series(0, $2::int - 1) as p where experiment_id = $1::int
"""
