"""How soon somebody who watches a run sees what is logged to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from statistics import median
from typing import Any, Final

import httpx
import orjson

from tests.bench.tracking import api
from tests.bench.tracking.requests import API
from tests.bench.tracking.rig import Rig

_METRICS: Final = 200
_SECONDS: Final = 10.0
_DATA: Final = "data: "


def live(rig: Rig) -> None:
    """Single metrics one after another, each sent once the one before was seen."""
    rig.ours.settle()
    (run_id,) = api.new_runs(rig.ours, 1)
    rig.ours.settle()
    sent, acknowledged = asyncio.run(_watch(rig.ours.url, run_id))
    seen = "seen by a live subscriber, p50"
    note = "(the event overtakes the answer)" if not median(acknowledged) else ""
    rig.row(f"acknowledged -> {seen}", "ms", median(acknowledged), note=note)
    rig.row(f"sent -> {seen}", "ms", median(sent))


async def _watch(url: str, run_id: str) -> tuple[list[float], list[float]]:
    """Milliseconds to each event from its request, and from its answer; none is below zero."""
    sent, acknowledged = [], []
    async with (
        httpx.AsyncClient(base_url=url, timeout=_SECONDS) as http,
        http.stream("GET", f"/api/tracking/v1/runs/{run_id}/tail") as tail,
    ):
        assert tail.status_code == httpx.codes.OK
        events = _events(tail)
        kind, _ = await anext(events)
        assert kind == "run", kind
        for step in range(_METRICS):
            seen = asyncio.create_task(_seen(events, step))
            began = time.perf_counter()
            point = {"key": "loss", "value": 1 / (step + 1), "timestamp": step, "step": step}
            answer = await http.post(f"{API}/runs/log-metric", json={"run_id": run_id, **point})
            answered = time.perf_counter()
            assert answer.status_code == httpx.codes.OK, answer.text[:500]
            at = await asyncio.wait_for(seen, _SECONDS)
            sent.append((at - began) * 1e3)
            # The event may overtake the answer.
            acknowledged.append(max(0.0, (at - answered) * 1e3))
    return sent, acknowledged


async def _seen(events: AsyncIterator[tuple[str, dict[str, Any]]], step: int) -> float:
    """When the event of this point came."""
    async for kind, document in events:
        if kind == "logged" and _has(document, step):
            return time.perf_counter()
    raise AssertionError("the tail ended")


def _has(document: dict[str, Any], step: int) -> bool:
    return any(step in columns["steps"] for columns in document["metrics"])


async def _events(tail: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    kind = ""
    async for line in tail.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith(_DATA):
            yield kind, orjson.loads(line.removeprefix(_DATA))
