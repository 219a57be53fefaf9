"""Runs by the ten thousand, written straight into PostgreSQL."""

from __future__ import annotations

from typing import Final

from headrace.runtime.db import Connection

EXPERIMENT: Final = 1
_ANALYSED: Final = ("run", "param", "tag", "metric_summary")


async def seed(connection: Connection, *, runs: int) -> None:
    """An experiment of so many runs and one of a quarter of them, alike in keys.

    Metrics `m0` to `m9` are uniform in [0, 1); params `p0` to `p4` numbers, `p5` to `p9` one of
    four choices; tags `t3` and `t4` one of eight teams, beside three that clients set. Then what
    autovacuum does within a minute.
    """
    for statement in _STATEMENTS:
        await connection.execute(statement, *([runs] if "$1" in statement else []))
    for table in _ANALYSED:
        await connection.execute(f"vacuum analyze {table}")


_STATEMENTS: Final = (
    """
    insert into experiment (experiment_id, name, artifact_location, creation_time,
        last_update_time)
    values (1, 'bench', 'mlflow-artifacts:/1', 1, 1), (2, 'other', 'mlflow-artifacts:/2', 1, 1)
    """,
    """
    insert into run (run_id, experiment_id, name, user_id, status, start_time, end_time,
        artifact_uri)
    select id, 1 + (n >= $1::int)::int, 'run-' || n, 'ann',
        (array['FINISHED', 'FAILED', 'RUNNING'])[1 + (n * 7 % 10 > 5)::int + (n * 7 % 10 > 8)::int],
        1700000000000 + n * 1000::bigint, 1700000100000 + n * 1000::bigint + hashint4(n) % 50000,
        'mlflow-artifacts:/1/' || id || '/artifacts'
    from generate_series(0, $1::int * 5 / 4 - 1) as n,
        lateral (select lpad(to_hex(n), 12, '0') || substr(md5('run' || n), 13) as id) as named
    """,
    """
    insert into param (run_id, experiment_id, key, value)
    select run_id, experiment_id, 'p' || k,
        case when k < 5 then ((hashint4(n * 31 + k) & 1023)::float8 / 1000)::text
        else 'choice-' || (hashint4(n * 17 + k) & 3) end
    from run, generate_series(0, 9) as k, lateral (select substr(name, 5)::int as n) as numbered
    order by run_id, k
    """,
    """
    insert into tag (run_id, experiment_id, key, value)
    select run_id, experiment_id,
        (array['mlflow.runName', 'mlflow.user', 'mlflow.source.name', 't3', 't4'])[k + 1],
        (array[name, 'ann', '/home/ann/train.py',
            'team-' || (hashint4(n * 13 + 3) & 7), 'team-' || (hashint4(n * 13 + 4) & 7)])[k + 1]
    from run, generate_series(0, 4) as k, lateral (select substr(name, 5)::int as n) as numbered
    order by run_id, k
    """,
    """
    insert into metric_summary (run_id, experiment_id, key, last_value, last_step, last_timestamp,
        first_value, first_step, first_timestamp, minimum, minimum_step, maximum, maximum_step,
        points, total, nans, infinities)
    select run_id, experiment_id, 'm' || k, v, 99, start_time, v + 1, 0, start_time,
        v - 0.1, 50, v + 1, 1, 100, v * 100, 0, 0
    from run, generate_series(0, 9) as k, lateral (select substr(name, 5)::int as n) as numbered,
        lateral (select (hashint4(n * 101 + k) & 1048575)::float8 / 1048576 as v) as drawn
    order by run_id, k
    """,
)
