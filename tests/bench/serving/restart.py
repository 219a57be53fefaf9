"""How long a worker is away after kill -9, under load, as its clients see it."""

from __future__ import annotations

import time
from typing import Final

from tests.bench.serving.figures import Row
from tests.bench.tracking.figures import Goal
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.constant_load import constant_load
from tests.harness.serving_processes import Serving
from tests.harness.supervised_workers import SupervisedWorker, supervised_workers

_MODEL: Final = "restarted"
_KILLS: Final = 3
_GOAL: Final = Goal(better="less", must=2.0)


async def killed_under_load(serving: Serving) -> list[Row]:
    """One of two workers is killed some times; the slowest return counts."""
    await serving.deploy(_MODEL, 1, onnx_models.constant(1.0))
    async with (
        supervised_workers(serving, 2) as (victim, survivor),
        constant_load(_MODEL, [survivor.grpc]) as (other,),
    ):
        away = [await _seconds_away(victim) for _ in range(_KILLS)]
    shown = ", ".join(f"{each:.2f}" for each in away)
    print(f"  kill -9 of a worker: back after {shown} s", flush=True)
    failures = len(other.failures)
    return [
        Row(
            what="kill -9 of a worker: back after",
            unit="s",
            ours=max(away),
            goal=_GOAL,
        ),
        Row(
            what="kill -9 of a worker: failures at the other",
            unit="",
            ours=failures,
            goal=Goal(better="less", must=0),
        ),
    ]


async def _seconds_away(victim: SupervisedWorker) -> float:
    async with constant_load(_MODEL, [victim.grpc]) as (client,):
        await until(lambda: client.answered_after(0), what="it answers")
        victim.process.kill()
        killed = time.monotonic()
        await until(lambda: client.answered_after(killed), seconds=30, what="it is back")
        return time.monotonic() - killed
