"""Points that producers report over Kafka, each taken in exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from random import Random
from typing import Final
from uuid import uuid4

import httpx

from headrace.events import MetricColumn, RunReported
from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal
from tests.bench.tracking.reports import end_of_intake, publish, until_taken
from tests.bench.tracking.requests import BATCH
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Ours
from tests.bench.tracking.settling import until_folded

_REPORTS: Final = 3000
_RUNS: Final = 12
_KEYS: Final = 10
_STEPS: Final = BATCH // _KEYS
_CHECKED: Final = ("metric_0000", f"metric_{_KEYS - 1:04d}")
_SECONDS: Final = 120.0
_LESS: Final = Goal(better="less")
_GOAL: Final = Goal(better="more", must=300_000, aim=600_000)


def intake(rig: Rig) -> None:
    """A backlog that came during a pause: from resuming until all is taken in and folded.

    The processor time goes on until it is compacted.
    """
    run_ids = [uuid4().hex for _ in range(_RUNS)]
    ours, kafka = rig.ours, rig.stack.backends.kafka
    ours.settle()
    _consumers(ours, "pause")
    try:
        asyncio.run(publish(kafka, _reports(run_ids)))
        end = asyncio.run(end_of_intake(kafka))
        rig.settle()
        seconds, cpu = _drain(ours, end)
    finally:
        _consumers(ours, "resume")
    api.check_stored(ours, [(run, _REPORTS // _RUNS * _STEPS) for run in run_ids], keys=_CHECKED)
    points = _REPORTS * BATCH
    rig.row("Kafka intake, exactly once", "points/s", points / seconds, goal=_GOAL)
    rig.row("Kafka intake, CPU", "ms a 1000 points", cpu * 1e6 / points, goal=_LESS)


def _consumers(ours: Ours, verb: str) -> None:
    answer = httpx.post(f"{ours.url}/admin/consumers/{verb}", timeout=30)
    assert answer.status_code == httpx.codes.OK, answer.text[:500]


def _drain(ours: Ours, end: int) -> tuple[float, float]:
    """Seconds until the log is empty again, and the processor time of all that it causes."""
    before, began = ours.roots.spent(), time.perf_counter()
    _consumers(ours, "resume")
    taken = asyncio.run(until_taken(ours, end, seconds=_SECONDS))
    assert taken, f"the backlog was not taken in within {_SECONDS:.0f} s"
    folded = asyncio.run(until_folded(ours.database_url, seconds=_SECONDS))
    assert folded, f"the backlog was not folded within {_SECONDS:.0f} s"
    seconds = time.perf_counter() - began
    ours.settle()
    return seconds, (ours.roots.spent() - before).total


def _reports(run_ids: list[str]) -> Iterator[RunReported]:
    """Each run's steps go on from report to report; ten keys, a hundred steps each."""
    random = Random(3)
    for number in range(_REPORTS):
        first = number // _RUNS * _STEPS
        steps = range(first, first + _STEPS)
        yield RunReported(
            run_id=run_ids[number % _RUNS],
            experiment="bench intake",
            metrics=[
                MetricColumn(
                    key=f"metric_{key:04d}",
                    values=[random.random() for _ in steps],
                    steps=list(steps),
                    timestamps=[1_760_000_000_000 + step * 160 for step in steps],
                )
                for key in range(_KEYS)
            ],
        )
