"""Points that producers report over Kafka, each taken in exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from random import Random
from typing import Final
from uuid import uuid4

from headrace.events import MetricColumn, RunReported
from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal
from tests.bench.tracking.reports import end_of_intake, publish, taken, until_taken
from tests.bench.tracking.requests import BATCH
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Ours

_REPORTS: Final = 1200
_RUNS: Final = 12
_KEYS: Final = 10
_SECONDS: Final = 120.0
_LESS: Final = Goal(better="less")
_GOAL: Final = Goal(better="more", must=300_000, aim=600_000)


def intake(rig: Rig) -> None:
    """A backlog drained by a service that starts: from its first progress to the last point."""
    run_ids = [uuid4().hex for _ in range(_RUNS)]
    ours, kafka = rig.ours, rig.stack.backends.kafka
    begin = asyncio.run(end_of_intake(kafka))
    ours.process.stop()
    asyncio.run(publish(kafka, _reports(run_ids)))
    rig.settle()
    ours.process.start(seconds=60)
    first, seconds, cpu = _drain(ours, begin, begin + _REPORTS)
    steps = _REPORTS // _RUNS * BATCH // _KEYS
    api.check_stored(ours, [(run, steps) for run in run_ids], keys=["metric_0000"])
    points = (begin + _REPORTS - first) * BATCH
    rig.row("Kafka intake, exactly once", "points/s", points / seconds, goal=_GOAL)
    rig.row("Kafka intake, CPU", "ms a 1000 points", cpu * 1e6 / points, goal=_LESS)


def _drain(ours: Ours, begin: int, end: int) -> tuple[int, float, float]:
    """The first progress seen, and the seconds and the processor time from there on."""
    assert asyncio.run(until_taken(ours, begin + 1, seconds=_SECONDS)), "nothing was taken in"
    began, before = time.perf_counter(), ours.roots.spent()
    first = asyncio.run(taken(ours))
    assert asyncio.run(until_taken(ours, end, seconds=_SECONDS)), "the backlog was not drained"
    seconds = time.perf_counter() - began
    ours.settle()
    return first, seconds, (ours.roots.spent() - before).total


def _reports(run_ids: list[str]) -> Iterator[RunReported]:
    """Each run's steps go on from report to report; ten keys, a hundred steps each."""
    random, steps = Random(3), BATCH // _KEYS
    for number in range(_REPORTS):
        first = number // _RUNS * steps
        moments = [1_760_000_000_000 + step * 160 for step in range(first, first + steps)]
        yield RunReported(
            run_id=run_ids[number % _RUNS],
            experiment="bench intake",
            metrics=[
                MetricColumn(
                    key=f"metric_{key:04d}",
                    values=[random.random() for _ in range(steps)],
                    steps=list(range(first, first + steps)),
                    timestamps=moments,
                )
                for key in range(_KEYS)
            ],
        )
