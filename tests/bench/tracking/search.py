"""What a search costs: `python -m tests.bench.tracking.search [--runs 20000] [--times 200]`.

A real service on real PostgreSQL, Kafka and S3; searches over keep-alive HTTP on one connection,
one after another, each page 100 runs of one experiment. The machine may be busy: CPU is what to
trust.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import psutil

from deploy.local import Backends, Stack, provision
from deploy.local.testing import TestDatabase, create_database, create_template
from headrace.runtime import db
from tests.component.tracking.process import TrackingProcess, prepared
from tests.harness.seeded_runs import EXPERIMENT, seed

WARM: Final = 20


@dataclass(frozen=True, kw_only=True)
class Search:
    """A filter and an order."""

    filter: str = ""
    order_by: tuple[str, ...] = ()


SEARCHES: Final = (
    Search(),
    Search(filter="metrics.m2 < 0.5 AND params.p7 = 'choice-1'", order_by=("metrics.m1 DESC",)),
    Search(filter="metrics.m2 < 0.001 AND params.p7 = 'choice-1'", order_by=("metrics.m1 DESC",)),
    Search(filter="metrics.m2 < 0.9", order_by=("metrics.m1 ASC",)),
    Search(filter="attributes.status = 'FINISHED'", order_by=("metrics.m1 DESC",)),
    Search(filter="params.p7 = 'choice-1' AND tags.t3 = 'team-3'", order_by=("metrics.m1",)),
    Search(filter="tags.mlflow.runName = 'run-777'"),
    Search(filter="metrics.m1 > 0.5", order_by=("params.p3 ASC",)),
    Search(filter="attributes.status = 'FAILED'", order_by=("attributes.run_name ASC",)),
    Search(filter="tags.t3 = 'team-3' OR metrics.m4 > 0.9", order_by=("metrics.m1 DESC",)),
    Search(filter="NOT params.p7 = 'choice-1'", order_by=("metrics.m1 DESC",)),
    Search(filter="params.p1 > 0.5", order_by=("metrics.m1 DESC",)),
    Search(filter="metrics.min(m2) < 0.1", order_by=("metrics.max(m1) DESC",)),
)


def main() -> None:
    """Start everything, seed, search, print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=20_000)
    arguments.add_argument("--times", type=int, default=200)
    options = arguments.parse_args()
    with _service(options.runs) as (service, database):
        print(f"{'p50 ms':>7} {'p95 ms':>7} {'service':>8} {'postgres':>8}  CPU ms a search")
        for search in SEARCHES:
            _measure(service, database, search, times=options.times)


@contextlib.contextmanager
def _service(runs: int) -> Iterator[tuple[TrackingProcess, TestDatabase]]:
    with Stack.temporary(durable=True) as stack, tempfile.TemporaryDirectory() as directory:
        backends = stack.backends
        asyncio.run(create_template(backends))
        database = asyncio.run(create_database(backends))
        service = _started(backends, database, Path(directory))
        try:
            asyncio.run(_seed(database, runs))
            yield service, database
        finally:
            service.stop()


def _started(backends: Backends, database: TestDatabase, directory: Path) -> TrackingProcess:
    provision.bucket(backends, "bench")
    service = prepared(backends, database, "bench", directory)
    service.start()
    return service


async def _seed(database: TestDatabase, runs: int) -> None:
    connection = await db.connect(database.url("tracking"), schema="tracking", command_seconds=600)
    await seed(connection, runs=runs)
    await connection.close()


def _measure(
    service: TrackingProcess, database: TestDatabase, search: Search, *, times: int
) -> None:
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    body = json.dumps(
        {
            "experiment_ids": [str(EXPERIMENT)],
            "filter": search.filter,
            "order_by": list(search.order_by),
            "max_results": 100,
        }
    ).encode()
    for _ in range(WARM):
        _ask(connection, body)
    assert service.process is not None
    backends = asyncio.run(_backends(database))
    before = _cpu([service.process.pid]), _cpu(backends)
    waits = sorted(_ask(connection, body) for _ in range(times))
    after = _cpu([service.process.pid]), _cpu(backends)
    connection.close()
    own, postgres = (
        1000 * (late - early) / times for early, late in zip(before, after, strict=True)
    )
    print(
        f"{waits[times // 2]:7.1f} {waits[times * 95 // 100]:7.1f} {own:8.2f} {postgres:8.2f}"
        f"  {search.filter or 'everything'} | {', '.join(search.order_by) or 'latest first'}"
    )


def _ask(connection: http.client.HTTPConnection, body: bytes) -> float:
    start = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/api/2.0/mlflow/runs/search", body, headers)
    response = connection.getresponse()
    answer = response.read()
    took = time.perf_counter() - start
    assert response.status == 200, answer
    return took * 1000


def _cpu(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


async def _backends(database: TestDatabase) -> list[int]:
    connection = await asyncpg.connect(database.admin_url)
    rows = await connection.fetch(
        "select pid from pg_stat_activity where datname = current_database()"
        " and backend_type = 'client backend' and pid <> pg_backend_pid()"
    )
    await connection.close()
    return [row["pid"] for row in rows]


if __name__ == "__main__":
    main()
