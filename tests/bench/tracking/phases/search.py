"""Searches among many runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import orjson

from tests.bench.tracking.figures import Goal
from tests.bench.tracking.requests import API, Load
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.seeding import seed
from tests.bench.tracking.servers import Server, prepared_ours

_PEER_RUNS: Final = 2000
# Both processes have just been started, or have not searched yet.
_WARM: Final = 20
_GOAL: Final = Goal(better="less", must=12, aim=5)
_LESS: Final = Goal(better="less")


def search(rig: Rig) -> None:
    """Filter and sort by metrics, the first page of 100; the peer among a tenth of the runs."""
    with _fresh(rig) as fresh:
        _search(fresh)


@contextlib.contextmanager
def _fresh(rig: Rig) -> Iterator[Rig]:
    """The rig with another service of ours: two would be one static member of a Kafka group."""
    rig.ours.settle()
    rig.ours.process.stop()
    try:
        with prepared_ours(rig.stack) as ours:
            ours.process.start(seconds=60)
            yield replace(rig, ours=ours)
    finally:
        rig.ours.process.start(seconds=60)


def _search(rig: Rig) -> None:
    runs = {
        server.name: rig.search_runs if server is rig.ours else min(_PEER_RUNS, rig.search_runs)
        for server in rig.servers
    }
    homes = {server.name: seed(server, runs[server.name]) for server in rig.servers}

    def make(server: Server, _: int) -> Load:
        body = {
            "experiment_ids": [homes[server.name]],
            "filter": "metrics.m2 < 0.9",
            "order_by": ["metrics.m1 ASC"],
            "max_results": 100,
        }
        load = rig.load(server, "read", ["the only connection"])
        return replace(load, path=f"{API}/runs/search", body=orjson.dumps(body).decode())

    for server in rig.servers:
        rig.sample(server, replace(make(server, 0), most=_WARM))
    pair = rig.alternate("search_runs", make)
    what = f"search_runs, filter + sort, page of 100 of {_thousands(rig.search_runs)} runs"
    note = "" if rig.peer is None else f"(MLflow of {_thousands(runs[rig.peer.name])} runs)"
    rig.row(f"{what}, p95", "ms", *pair.both(lambda one: one.at(95)), goal=_GOAL, note=note)
    rig.row(f"{what}, CPU", "ms", *pair.both(lambda one: one.cpu_ms), goal=_LESS, note=note)


def _thousands(runs: int) -> str:
    return f"{runs // 1000} k" if runs % 1000 == 0 else f"{runs:,}"
