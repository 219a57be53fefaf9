"""Traces of one span over OTLP, in exports as clients send them."""

from __future__ import annotations

from typing import Any, Final

import httpx

from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal, Sample
from tests.bench.tracking.requests import Load
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Server

_GOAL: Final = Goal(better="more", must=10_000, aim=30_000)
_LESS: Final = Goal(better="less")
_SHAPES: Final = {
    (16, 5): ("batches of MLflow's client", _GOAL),
    (8, 100): ("batches of OpenTelemetry's processor", None),
    (16, 1): ("each by itself", None),
}
"""Connections and spans an export; the promise is for what an unmodified client sends."""
_PAGE: Final = 500
_SEARCH: Final = "/api/3.0/mlflow/traces/search"


def traces(rig: Rig) -> None:
    """Each shape; all of the first connection's traces are found afterwards."""
    for (connections, spans), (called, goal) in _SHAPES.items():
        _traces(rig, connections, spans, called, goal)


def _traces(rig: Rig, connections: int, spans: int, called: str, goal: Goal | None) -> None:
    pair = rig.alternate(
        f"one-span traces, {connections} conn x {spans}",
        lambda server, number: rig.load(
            server,
            "span",
            [api.experiment(server) for _ in range(connections)],
            seed=number,
            spans=spans,
        ),
        each=spans,
        check=_check,
    )
    what = f"one-span traces by OTLP, {connections} conn x {spans}, {called}"
    rig.row(what, "spans/s", *pair.both(lambda one: one.per_second), goal=goal)
    spent = pair.both(lambda one: one.cpu_ms / spans * 1e3)
    rig.row(f"{what}, CPU", "us a span", *spent, goal=_LESS)


def _check(server: Server, load: Load, sample: Sample) -> None:
    """The first experiment holds as many traces as were acknowledged for it."""
    found = _count(server, load.targets[0])
    expected = sample.answers.answered[0] * load.spans
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
