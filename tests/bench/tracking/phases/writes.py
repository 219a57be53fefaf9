"""Points one by one and a thousand at a time, and new runs."""

from __future__ import annotations

from typing import Final

from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal, Sample
from tests.bench.tracking.requests import BATCH, Load
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Server

_LAYOUTS: Final = {
    "one-key": (1, "one key"),
    "ten-keys": (10, "10 keys x 100 steps"),
    "distinct": (BATCH, "1000 keys"),
}
_CHECKED_KEYS: Final = 5
_METRIC_GOALS: Final = {
    1: Goal(better="more", must=1200, aim=1800, ratio=8),
    64: Goal(better="more", must=3000, aim=5000, ratio=18),
}
_CREATE_GOALS: Final = {
    1: Goal(better="more", must=600, aim=1200),
    16: Goal(better="more", must=1500, aim=3000),
}
_BATCH_GOAL: Final = Goal(better="more", must=300_000, aim=600_000, ratio=40)
_LESS: Final = Goal(better="less")
_METRIC_CPU: Final = Goal(better="less", must=0.6, aim=0.35)


def batches(rig: Rig) -> None:
    """log_batch(1000 metrics), each connection with a run of its own."""
    for layout in _LAYOUTS:
        for connections in (1, 8):
            _batches(rig, layout, connections)


def _batches(rig: Rig, layout: str, connections: int) -> None:
    keys, called = _LAYOUTS[layout]

    def check(server: Server, load: Load, sample: Sample) -> None:
        expected = [
            (run, count * BATCH // keys)
            for run, count in zip(load.targets, sample.answers.answered, strict=True)
        ]
        names = [f"metric_{key:04d}" for key in range(0, keys, max(1, keys // _CHECKED_KEYS))]
        api.check_stored(server, expected, keys=names)

    pair = rig.alternate(
        f"log_batch {layout}, {connections} conn",
        lambda server, number: rig.load(
            server, layout, api.new_runs(server, connections), seed=number
        ),
        each=BATCH,
        check=check,
    )
    what = f"log_batch(1000), {called}, {connections} conn"
    rig.row(what, "points/s", *pair.both(lambda one: one.per_second), goal=_BATCH_GOAL)
    rig.row(f"{what}, CPU", "ms a batch", *pair.both(lambda one: one.cpu_ms), goal=_LESS)


def single_metrics(rig: Rig) -> None:
    """log_metric, each connection with a run of its own."""
    for connections, goal in _METRIC_GOALS.items():
        _single_metrics(rig, connections, goal)


def _single_metrics(rig: Rig, connections: int, goal: Goal) -> None:
    pair = rig.alternate(
        f"log_metric, {connections} conn",
        lambda server, number: rig.load(
            server, "metric", api.new_runs(server, connections), seed=number
        ),
        check=_check_metrics,
    )
    what = f"log_metric, {connections} conn"
    rig.row(what, "requests/s", *pair.both(lambda one: one.per_second), goal=goal)
    rig.row(f"{what}, CPU", "ms", *pair.both(lambda one: one.cpu_ms), goal=_METRIC_CPU)


def _check_metrics(server: Server, load: Load, sample: Sample) -> None:
    expected = zip(load.targets, sample.answers.answered, strict=True)
    api.check_stored(server, expected, keys=["metric_0000"])


def created_runs(rig: Rig) -> None:
    """create_run with the tags that the fluent client gives it, all in one experiment."""
    for connections, goal in _CREATE_GOALS.items():
        _created_runs(rig, connections, goal)


def _created_runs(rig: Rig, connections: int, goal: Goal) -> None:
    pair = rig.alternate(
        f"create_run, {connections} conn",
        lambda server, number: rig.load(
            server, "create", [api.experiment(server)] * connections, seed=number
        ),
    )
    what = f"create_run, {connections} conn"
    rig.row(what, "runs/s", *pair.both(lambda one: one.per_second), goal=goal)
    rig.row(f"{what}, CPU", "ms", *pair.both(lambda one: one.cpu_ms), goal=_LESS)
