"""Finished runs with ten metrics and ten params each, written straight into the database."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from headrace.runtime import db
from tests.bench.tracking import api
from tests.bench.tracking.servers import Ours, Server
from tests.harness import seeded_runs

_COLUMNS: Final = 10
_SECONDS: Final = 60.0


def seed(server: Server, runs: int) -> str:
    """The id of an experiment that holds so many of them, analysed as autovacuum would do it.

    Ours must be without experiments. Raises TimeoutError when it takes a minute.
    """
    if isinstance(server, Ours):
        asyncio.run(_ours(server, runs))
        return str(seeded_runs.EXPERIMENT)
    home = api.experiment(server)
    asyncio.run(_peer(server, int(home), runs))
    return home


async def _ours(ours: Ours, runs: int) -> None:
    url = ours.database.url("tracking")
    connection = await db.connect(url, schema=ours.schema, command_seconds=_SECONDS)
    try:
        async with asyncio.timeout(_SECONDS):
            await seeded_runs.seed(connection, runs=runs)
    finally:
        await connection.close()


async def _peer(server: Server, home: int, runs: int) -> None:
    connection = await asyncpg.connect(server.database_url)
    try:
        async with asyncio.timeout(_SECONDS):
            await connection.execute("select setseed(0.5)")
            await connection.execute(_RUNS, home, runs)
            for statement in (_METRICS, _PARAMS):
                await connection.execute(statement, home, _COLUMNS)
            await connection.execute("vacuum analyze")
    finally:
        await connection.close()


_RUNS: Final = """
insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,
    start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
select md5(n::text), 'run-' || n, 'UNKNOWN', '', '', 'bench', 'FINISHED',
    1760000000000 + n * 1000::bigint, 1760000000900 + n * 1000::bigint, '', 'active',
    'mlflow-artifacts:/' || $1::int || '/' || md5(n::text) || '/artifacts', $1::int
from generate_series(1, $2::int) as n
"""
_METRICS: Final = """
insert into latest_metrics (run_uuid, key, value, timestamp, step, is_nan)
select run_uuid, 'm' || m, random(), start_time, 99, false
from runs, generate_series(0, $2::int - 1) as m where experiment_id = $1::int
"""
_PARAMS: Final = """
insert into params (run_uuid, key, value)
select run_uuid, 'p' || p, 'choice-' || (random() * 4)::int % 4
from runs, generate_series(0, $2::int - 1) as p where experiment_id = $1::int
"""
