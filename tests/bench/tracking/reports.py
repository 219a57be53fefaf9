"""RunReported on Kafka: published, and taken in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import islice
from typing import Final

import asyncpg

from headrace.client import EventProducer
from headrace.events import RunReported
from headrace.events.topics import TRACKING_INTAKE
from tests.bench.tracking.servers import Ours
from tests.harness.bus import ends

GROUP: Final = "tracking.intake"
_AT_ONCE: Final = 20
_TAKEN: Final = (
    "select coalesce(sum(next_offset), 0)::bigint from tracking.consumer_offset"
    " where grp = $1 and topic = $2"
)


async def publish(kafka: str, reports: Iterable[RunReported]) -> None:
    """Return when the broker has all of them."""
    async with EventProducer(kafka=kafka, source="/bench") as producer:
        left = iter(reports)
        while some := list(islice(left, _AT_ONCE)):
            await producer.emit_many(some)


async def end_of_intake(kafka: str) -> int:
    """How many records the topic ever took."""
    return sum((await ends(kafka, [TRACKING_INTAKE.name])).values())


async def taken(ours: Ours) -> int:
    """How many of them the service is past."""
    connection = await asyncpg.connect(ours.database_url)
    try:
        return int(await connection.fetchval(_TAKEN, GROUP, TRACKING_INTAKE.name))
    finally:
        await connection.close()


async def until_taken(ours: Ours, goal: int, *, seconds: float) -> bool:
    """Whether the service got that far in time."""
    deadline = time.monotonic() + seconds
    connection = await asyncpg.connect(ours.database_url)
    try:
        while await connection.fetchval(_TAKEN, GROUP, TRACKING_INTAKE.name) < goal:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True
    finally:
        await connection.close()
