"""Every service is restarted under load, one after the other, and no client notices."""

from __future__ import annotations

import asyncio
import signal
import time

import numpy as np
import pytest

from deploy.local import Stack
from deploy.local.options import SERVICES
from tests.harness.load import MLFLOW, Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


async def restart(stack: Stack, name: str) -> float:
    """Seconds from SIGTERM until the process that follows is ready."""
    process = stack.process(name)
    began = time.monotonic()
    process.kill(signal.SIGTERM)
    await asyncio.to_thread(process.wait_restarted, 90)
    return time.monotonic() - began


async def test_a_rolling_restart_fails_no_request_and_loses_no_event(
    platform: Stack, load: Load
) -> None:
    kinds = (
        ("tracking, written", load.write),
        ("tracking, mlflow client", load.client_write),
        ("tracking, read", load.read(f"{MLFLOW}/runs/get?run_id={load.run_id}")),
        ("registry, read", load.read(f"{MLFLOW}/registered-models/get?name={load.model}")),
        ("orchestrator, read", load.read("/api/orchestrator/v1/runs")),
        ("serving, read", load.read("/api/serving/v1/models")),
        ("console, read", load.read("/")),
        ("prediction", load.predict),
    )
    restarts: dict[str, float] = {}
    async with load.beating() as beats, load.running(*kinds):
        await load.some_more(50)
        for name in SERVICES:
            restarts[name] = await restart(platform, name)
            await load.some_more()

    stall = float(np.percentile(beats.gaps, 99))
    _report(load, restarts, stall)
    assert [failure for calls in load.calls for failure in calls.failures] == []
    assert sorted(await load.stored_steps()) == load.written
    assert sorted(beats.numbers) == list(range(len(beats.sent)))
    assert stall < 1.0


def _report(load: Load, restarts: dict[str, float], stall: float) -> None:
    print()
    for calls in load.calls:
        print(calls)
    for name, seconds in restarts.items():
        print(f"{name:24} SIGTERM to ready again {seconds:5.2f} s")
    gaps = load.beats.gaps
    delays = load.beats.delays
    print(f"delay of an event: median {np.median(delays):.3f} s, longest {max(delays):.2f} s")
    print(f"{len(gaps)} events handled; stall p99 {stall:.3f} s, longest {max(gaps):.2f} s")
