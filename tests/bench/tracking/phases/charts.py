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

_REPORT: Final = 50_000
_SECONDS: Final = 60.0
_PIXELS: Final = 2500
_PATH: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
_GOAL: Final = Goal(better="less", must=50)


def chart(rig: Rig) -> None:
    """Loaded over Kafka as far as a minute allows; the first answer, and the ones after it."""
    run_id, kafka = uuid4().hex, rig.stack.backends.kafka
    begin = asyncio.run(end_of_intake(kafka))
    asyncio.run(publish(kafka, _reports(run_id, rig.chart_points)))
    goal = asyncio.run(end_of_intake(kafka))
    began = time.monotonic()
    if not asyncio.run(until_taken(rig.ours, goal, seconds=_SECONDS)):
        print(f"  the series was not taken in within {_SECONDS:.0f} s", flush=True)
    points = (asyncio.run(taken(rig.ours)) - begin) * _REPORT
    print(f"  {points:,} points taken in {time.monotonic() - began:.1f} s", flush=True)
    query = (("run_ids", run_id), ("metric_key", "loss"), ("max_results", str(_PIXELS)))
    load = replace(rig.load(rig.ours, "read", ["the only connection"]), path=_PATH, query=query)
    first = rig.sample(rig.ours, replace(load, most=1))
    what = f"chart of {points / 1e6:.1f} M points"
    rig.row(f"{what}, first answer", "ms", first.answers.milliseconds[0], goal=_GOAL)
    pair = rig.alternate("chart", lambda _, __: load, servers=(rig.ours,))
    rig.row(f"{what}, p95", "ms", pair.ours.at(95), goal=_GOAL)
    rig.row(f"{what}, CPU", "ms", pair.ours.cpu_ms, goal=Goal(better="less"))


def _reports(run_id: str, points: int) -> Iterator[RunReported]:
    random = Random(7)
    for first in range(0, points, _REPORT):
        steps = range(first, first + _REPORT)
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
