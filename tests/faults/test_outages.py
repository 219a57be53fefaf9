"""The broker or the database is away for long, under load: what was acknowledged stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import httpx
import pytest

from deploy.local import Stack
from deploy.local.backends import DATABASE
from tests.harness.load import Load, all_ready, logged_steps

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

BROKER_AWAY_SECONDS: Final = 60
DATABASE_AWAY_SECONDS: Final = 30
READY_WITHIN_SECONDS: Final = 5.0


async def outbox_rows(stack: Stack, service: str) -> int:
    connection = await asyncpg.connect(stack.backends.admin_url(DATABASE))
    try:
        return int(await connection.fetchval(f'select count(*) from "{service}".outbox'))  # noqa: S608
    finally:
        await connection.close()


async def ask_ready(stack: Stack) -> httpx.Response:
    async with httpx.AsyncClient(timeout=5) as http:
        return await http.get(f"{stack.urls['tracking']}/readyz")


async def ready_again(stack: Stack) -> float:
    """Seconds until every service is ready."""
    began = time.monotonic()
    await all_ready(stack)
    return time.monotonic() - began


async def test_a_broker_away_for_a_minute_stops_no_write_and_loses_no_event(
    platform: Stack, load: Load
) -> None:
    broker = platform.process("kafka")
    async with load.running(("written", load.write), ("prediction", load.predict)):
        await load.some_more(20)
        await asyncio.to_thread(broker.stop)
        before = len(load.written)
        grown = []
        for _ in range(6):
            await asyncio.sleep(BROKER_AWAY_SECONDS / 6)
            grown.append(await outbox_rows(platform, "tracking"))
        during = len(load.written) - before
        readiness = (await ask_ready(platform)).json()
        await asyncio.to_thread(broker.start)
        seconds = await ready_again(platform)
        await load.some_more(20)

    told = await logged_steps(platform, load.run_id, until_count=len(load.written))
    print()
    for calls in load.calls:
        print(calls)
    print(f"{during} writes while the broker was away; outbox rows every 10 s: {grown}")
    print(f"not ready meanwhile: {readiness['reasons']}")
    print(f"every service ready {seconds:.2f} s after it was back")
    assert [failure for calls in load.calls for failure in calls.failures] == []
    assert during > 100
    assert grown == sorted(grown)
    assert grown[-1] > grown[0]
    assert readiness["reasons"]
    assert sorted(await load.stored_steps()) == load.written
    assert sorted(told) == load.written
    assert seconds <= READY_WITHIN_SECONDS


async def test_a_database_away_for_half_a_minute_is_429_and_loses_nothing_acknowledged(
    platform: Stack, load: Load
) -> None:
    database = platform.process("postgres")
    refused: list[httpx.Response] = []
    async with load.running(("written", _until_taken(load, refused)), ("prediction", load.predict)):
        await load.some_more(20)
        await asyncio.to_thread(database.stop)
        await asyncio.sleep(DATABASE_AWAY_SECONDS)
        readiness = await ask_ready(platform)
        await asyncio.to_thread(database.start)
        seconds = await ready_again(platform)
        await load.some_more(20)

    told = await logged_steps(platform, load.run_id, until_count=len(load.written))
    print()
    for calls in load.calls:
        print(calls)
    slowest = max(answer.elapsed.total_seconds() for answer in refused)
    print(f"{len(refused)} writes turned away with 429, the slowest after {slowest:.2f} s")
    print(f"every service ready {seconds:.2f} s after it was back")
    assert [failure for calls in load.calls for failure in calls.failures] == []
    assert refused
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert slowest < 6
    assert readiness.status_code == 503
    assert sorted(await load.stored_steps()) == load.written
    assert sorted(told) == load.written
    assert seconds <= READY_WITHIN_SECONDS


def _until_taken(load: Load, refused: list[httpx.Response]) -> Callable[[int], Awaitable[None]]:
    """A write that is sent again, as it is told, until it is taken."""

    async def ask(number: int) -> None:
        while not load.ending:
            answer = await load.send(number)
            if answer.status_code == 200:
                load.written.append(number)
                return
            refused.append(answer)
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)))

    return ask
