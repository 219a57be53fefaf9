"""Databases of MLflow with a long past, made without MLflow: it would take hours."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

SCHEMA = """
create table experiments (experiment_id integer primary key, name text, artifact_location text,
    lifecycle_stage text, creation_time bigint, last_update_time bigint);
create table runs (run_uuid text primary key, name text, user_id text, status text,
    start_time bigint, end_time bigint, lifecycle_stage text, artifact_uri text,
    experiment_id integer);
create table tags (key text, value text, run_uuid text, primary key (key, run_uuid));
create table params (key text, value text, run_uuid text, primary key (key, run_uuid));
create table metrics (key text, value float, timestamp bigint, step bigint, is_nan boolean,
    run_uuid text, primary key (key, timestamp, step, run_uuid, value, is_nan));
create index index_metrics_run_uuid on metrics (run_uuid);
create index index_metrics_run_uuid_key_step on metrics (run_uuid, key, step);
"""


def write(file: Path, experiment: str, run_ids: list[str], *, keys: int, points: int) -> None:
    """Runs with `points` of each of `keys` metrics, logged step by step."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(SCHEMA)
        connection.execute(
            "insert into experiments values (1, ?, 'mlruns/1', 'active', 1, 1)", (experiment,)
        )
        for run_id in run_ids:
            connection.execute(
                "insert into runs values (?, 'old', 'ada', 'FINISHED', 1, 2, 'active', ?, 1)",
                (run_id, f"mlruns/1/{run_id}/artifacts"),
            )
            connection.execute("insert into params values ('lr', '0.1', ?)", (run_id,))
            connection.executemany(
                "insert into metrics values (?, ?, ?, ?, 0, ?)",
                _points(run_id, keys=keys, points=points),
            )


def value(key: int, step: int) -> float:
    """What metric `m<key>` was at a step."""
    return math.sin(step * (key + 1))


def _points(run_id: str, *, keys: int, points: int) -> Iterator[tuple[str, float, int, int, str]]:
    for step in range(points):
        for key in range(keys):
            yield f"m{key}", value(key, step), 1_000_000 + step, step, run_id
