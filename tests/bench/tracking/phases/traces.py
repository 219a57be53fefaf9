"""Traces of one span over OTLP, each an export of its own."""

from __future__ import annotations

from typing import Any, Final

import httpx

from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal, Sample
from tests.bench.tracking.requests import Load
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Server

_GOAL: Final = Goal(better="more", must=10_000, aim=30_000)
_PAGE: Final = 500
_SEARCH: Final = "/api/3.0/mlflow/traces/search"


def traces(rig: Rig) -> None:
    """Exports of one span on 1 and 16 connections; all of them are found afterwards."""
    for connections in (1, 16):
        _traces(rig, connections)


def _traces(rig: Rig, connections: int) -> None:
    pair = rig.alternate(
        f"one-span traces, {connections} conn",
        lambda server, number: rig.load(
            server,
            "span",
            [api.experiment(server) for _ in range(connections)],
            seed=number,
        ),
        check=_check,
    )
    what = f"one-span traces by OTLP, {connections} conn"
    rig.row(what, "spans/s", *pair.both(lambda one: one.per_second), goal=_GOAL)
    rig.row(f"{what}, CPU", "ms", *pair.both(lambda one: one.cpu_ms), goal=Goal(better="less"))


def _check(server: Server, load: Load, sample: Sample) -> None:
    """The first experiment holds as many traces as were acknowledged for it."""
    found, expected = _count(server, load.targets[0]), sample.answers.answered[0]
    assert found == expected, f"{server.name}: {found} traces of {expected} acknowledged"


def _count(server: Server, experiment: str) -> int:
    home = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    query: dict[str, Any] = {"locations": [home], "max_results": _PAGE}
    count = 0
    with httpx.Client(base_url=server.url, timeout=60) as http:
        while True:
            answer = http.post(_SEARCH, json=query)
            assert answer.status_code == httpx.codes.OK, answer.text[:500]
            found = answer.json()
            count += len(found.get("traces", ()))
            if not found.get("next_page_token"):
                return count
            query["page_token"] = found["next_page_token"]
