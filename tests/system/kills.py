"""Every process killed with -9 in the middle of traffic, one after the other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from examples.flights.demo.replay import Traffic
from tests.system.world import MODELS, World

FIRST: Final = date(2013, 6, 21)
VICTIMS: Final = (
    "monitoring",
    "registry",
    "tracking",
    "orchestrator",
    "worker",
    "console",
    "front",
    "postgres",
    "s3",
    "kafka",
    "serving",
    "serving-worker",
    "serving-asynchronous",
)
LOGGING: Final = frozenset({"serving", "serving-worker"})
"""Processes that hold prediction log rows which no one was promised."""

_BEFORE, _AFTER = 3.0, 3.0


@dataclass(kw_only=True)
class Kills:
    """When each process was killed and back again (wall clock), and what the client saw."""

    closed_through: datetime
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    traffic: list[Traffic] = field(default_factory=list)

    def may_be_lost(self, answered_at: float) -> bool:
        """Whether a log row of that moment may have died with a serving process."""
        return any(
            start - _BEFORE <= answered_at <= end + _AFTER
            for name, (start, end) in self.spans.items()
            if name in LOGGING
        )


async def kill_everything(world: World) -> Kills:
    """Replay day after day until every process has been killed and is back, and days closed."""
    kills = Kills(closed_through=datetime.combine(FIRST, datetime.min.time(), UTC))
    killing = asyncio.create_task(_kill_in_turn(world, kills))
    day = FIRST
    while not killing.done():
        kills.traffic.append(await world.replay(day, day + timedelta(days=1)))
        day += timedelta(days=1)
        await _not_weeks_ahead(world, day)
    await killing
    for _ in range(2):
        kills.traffic.append(await world.replay(day, day + timedelta(days=1)))
        day += timedelta(days=1)
    last = day - timedelta(days=3)
    for model in MODELS:
        await _closed(world, model, last)
    kills.closed_through = datetime.combine(last, datetime.min.time(), UTC)
    return kills


async def _not_weeks_ahead(world: World, day: date) -> None:
    """A label waits a fortnight for its prediction: no more may pass while a process is away."""
    for model in MODELS:
        await _closed(world, model, day - timedelta(days=4))


async def _closed(world: World, model: str, last: date) -> None:
    closed = await world.watch.until(lambda: world.watch.closed_through(model) >= last, seconds=120)
    assert closed, f"{model}: {world.watch.closed_through(model)} is closed, not yet {last}"


async def _kill_in_turn(world: World, kills: Kills) -> None:
    for name in VICTIMS:
        await _some_traffic(world)
        process = world.stack.process(name)
        began = time.time()
        process.kill()
        await asyncio.to_thread(process.wait_restarted, 90)
        await asyncio.to_thread(process.wait_ready, 90)
        kills.spans[name] = (began, time.time())


async def _some_traffic(world: World) -> None:
    """Return after a few dozen more answers, so that a kill always meets traffic."""
    goal = len(world.answers.by_id) + 500
    deadline = time.monotonic() + 120
    while len(world.answers.by_id) < goal:
        assert time.monotonic() < deadline, "no answers for two minutes"
        await asyncio.sleep(0.02)
