"""A chart of a very long series at the resolution of a screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final
from uuid import uuid4

from headrace.events import MetricColumn, RunReported
from tests.bench.tracking.figures import Goal
from tests.bench.tracking.reports import end_of_intake, publish, taken, until_taken
from tests.bench.tracking.rig import Rig

_REPORT: Final = 20_000
_TAKEN_SECONDS: Final = 120.0
_COMPACTED_SECONDS: Final = 120.0
_WIDTH: Final = 1000
_SAMPLES: Final = 2500
_INTERVAL: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
_GOAL: Final = Goal(better="less", must=50)
_LESS: Final = Goal(better="less")


def chart(rig: Rig) -> None:
    """The first answer and the ones after it, by our endpoint and by MLflow's."""
    run_id = uuid4().hex
    taken_in = _load(rig, run_id, rig.chart_points)
    what = f"chart of {taken_in / 1e6:.1f} M points"
    path = f"/api/tracking/v1/runs/{run_id}/chart"
    _measure(rig, what, path, (("key", "loss"), ("width", str(_WIDTH))))
    query = (("run_ids", run_id), ("metric_key", "loss"), ("max_results", str(_SAMPLES)))
    _measure(rig, f"{what}, MLflow's call", _INTERVAL, query)


def _load(rig: Rig, run_id: str, points: int) -> int:
    """How many were taken in over Kafka; they are compacted afterwards."""
    kafka = rig.stack.backends.kafka
    begin = asyncio.run(end_of_intake(kafka))
    began = time.monotonic()
    asyncio.run(publish(kafka, _reports(run_id, points)))
    goal = asyncio.run(end_of_intake(kafka))
    if not asyncio.run(until_taken(rig.ours, goal, seconds=_TAKEN_SECONDS)):
        print(f"  NOT ALL TAKEN IN within {_TAKEN_SECONDS:.0f} s", flush=True)
    taken_in = min(points, (asyncio.run(taken(rig.ours)) - begin) * _REPORT)
    print(f"  {taken_in:,} points made and taken in, {time.monotonic() - began:.1f} s", flush=True)
    rig.ours.settle(seconds=_COMPACTED_SECONDS)
    print(f"  compacted, {time.monotonic() - began:.1f} s", flush=True)
    return taken_in


def _measure(rig: Rig, what: str, path: str, query: tuple[tuple[str, str], ...]) -> None:
    load = replace(rig.load(rig.ours, "read", ["the only connection"]), path=path, query=query)
    first = rig.sample(rig.ours, replace(load, most=1))
    rig.row(f"{what}, first answer", "ms", first.answers.milliseconds[0], goal=_GOAL)
    pair = rig.alternate(what, lambda _, __: load, servers=(rig.ours,))
    rig.row(f"{what}, p95", "ms", pair.ours.at(95), goal=_GOAL)
    rig.row(f"{what}, CPU", "ms", pair.ours.cpu_ms, goal=_LESS)


def _reports(run_id: str, points: int) -> Iterator[RunReported]:
    random = Random(7)
    for first in range(0, points, _REPORT):
        steps = range(first, min(first + _REPORT, points))
        yield RunReported(
            run_id=run_id,
            experiment="bench chart",
            metrics=[
                MetricColumn(
                    key="loss",
                    values=[2 / (1 + step / 1e5) + random.random() * 0.1 for step in steps],
                    steps=list(steps),
                    timestamps=[1_760_000_000_000 + step * 160 for step in steps],
                )
            ],
        )
