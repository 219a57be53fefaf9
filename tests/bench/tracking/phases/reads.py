"""Histories, and runs with many metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal, Measured
from tests.bench.tracking.requests import API, BATCH, Load
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Server

_PAGE: Final = 25_000
_HISTORY_GOAL: Final = Goal(better="less", must=20, aim=8)
_LESS: Final = Goal(better="less")


def history(rig: Rig) -> None:
    """A whole page as the client asks for it."""
    query = {}
    for server in rig.servers:
        (run,) = api.new_runs(server, 1)
        rig.sample(server, Load(kind="one-key", targets=(run,), most=_PAGE // BATCH, seconds=120.0))
        api.check_stored(server, [(run, _PAGE)], keys=["metric_0000"])
        query[server.name] = (
            ("run_id", run),
            ("metric_key", "metric_0000"),
            ("max_results", str(_PAGE)),
        )
    pair = rig.alternate(
        "history of 25 k points",
        lambda server, _: _read(rig, server, "metrics/get-history", query=query[server.name]),
    )
    rig.row("history of 25 k points, CPU", "ms", *pair.both(_cpu), goal=_HISTORY_GOAL)
    rig.row("history of 25 k points, p50", "ms", *pair.both(_p50), goal=_LESS)


def run_of_many_metrics(rig: Rig) -> None:
    """get_run of a run with a thousand metric keys."""
    query = {}
    for server in rig.servers:
        (run,) = api.new_runs(server, 1)
        rig.sample(server, Load(kind="distinct", targets=(run,), most=1, seconds=60.0))
        query[server.name] = (("run_id", run),)
    pair = rig.alternate(
        "get_run, 1000 keys",
        lambda server, _: _read(rig, server, "runs/get", query=query[server.name]),
    )
    rig.row("get_run with 1000 metrics, CPU", "ms", *pair.both(_cpu), goal=_LESS)
    rig.row("get_run with 1000 metrics, p50", "ms", *pair.both(_p50), goal=_LESS)


def _read(
    rig: Rig,
    server: Server,
    path: str,
    *,
    query: tuple[tuple[str, str], ...] = (),
) -> Load:
    load = rig.load(server, "read", ["the only connection"])
    return replace(load, path=f"{API}/{path}", query=query)


def _cpu(one: Measured) -> float:
    return one.cpu_ms


def _p50(one: Measured) -> float:
    return one.at(50)
