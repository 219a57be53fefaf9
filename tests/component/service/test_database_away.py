"""PostgreSQL goes away in every way it can: who asks gets an answer, and nothing stays broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from deploy.local import Stack
from deploy.local.process import SupervisedProcess
from tests.harness.bus import until
from tests.harness.small_service import Notes, living, settings

LONGEST = 6.0
"""Seconds that a request may take while the database is away; the promise is about five."""


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """Backends of these tests alone, whose PostgreSQL may be stopped."""
    with Stack.temporary() as stack:
        yield stack


@pytest.fixture
def postgres(own: Stack) -> Iterator[SupervisedProcess]:
    process = own.process("postgres")
    yield process
    if not process.running:
        process.start()
    process.resume()


@pytest_asyncio.fixture
async def http(own: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running service that notes texts."""
    async with living(Notes(settings(own.backends))) as (client, _):
        await client.post("/sql", content="truncate note")
        yield client


async def timed(asking: asyncio.Future[httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = await asking
    return answer, time.monotonic() - began


async def turned_away(http: httpx.AsyncClient, text: str) -> None:
    answer, seconds = await timed(asyncio.ensure_future(http.post(f"/notes/{text}")))
    assert answer.status_code == 429, answer.text
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert seconds < LONGEST


async def says_why(http: httpx.AsyncClient) -> None:
    live, seconds = await timed(asyncio.ensure_future(http.get("/livez")))
    assert live.status_code == 200
    assert seconds < 1
    ready, seconds = await timed(asyncio.ensure_future(http.get("/readyz")))
    assert ready.status_code == 503
    assert any(reason.startswith("database: no answer") for reason in ready.json()["reasons"])
    assert seconds < 2.5


async def recovers(http: httpx.AsyncClient, text: str) -> float:
    """Seconds until a write is taken and the service is ready."""
    began = time.monotonic()

    async def written() -> bool:
        return (await http.post(f"/notes/{text}")).status_code == 200

    async def ready() -> bool:
        return (await http.get("/readyz")).status_code == 200

    await until(written, seconds=10, what="a write")
    await until(ready, seconds=10, what="readiness")
    return time.monotonic() - began


async def test_a_stopped_database_is_429_at_once_and_used_again_when_it_is_back(
    http: httpx.AsyncClient, postgres: SupervisedProcess
) -> None:
    assert (await http.post("/notes/a")).status_code == 200
    await asyncio.to_thread(postgres.stop)

    await turned_away(http, "b")
    await says_why(http)
    await turned_away(http, "c")

    await asyncio.to_thread(postgres.start)
    seconds = await recovers(http, "d")
    assert seconds < 5
    assert (await http.get("/notes")).json()["notes"] == ["a", "d"]
    print(f"\nready {seconds:.2f} s after a stopped PostgreSQL was back")


async def test_a_killed_database_loses_nothing_acknowledged(
    http: httpx.AsyncClient, postgres: SupervisedProcess
) -> None:
    assert (await http.post("/notes/a")).status_code == 200
    postgres.kill()
    await asyncio.to_thread(postgres.wait_restarted)

    seconds = await recovers(http, "b")

    assert seconds < 5
    assert (await http.get("/notes")).json()["notes"] == ["a", "b"]


async def test_a_frozen_database_does_not_hang_a_request_or_a_probe(
    http: httpx.AsyncClient, postgres: SupervisedProcess
) -> None:
    assert (await http.post("/notes/a")).status_code == 200
    postgres.pause()

    await asyncio.gather(*(turned_away(http, f"b{number}") for number in range(20)))
    await says_why(http)
    await turned_away(http, "c")

    postgres.resume()
    seconds = await recovers(http, "d")
    assert seconds < 5
    print(f"\nready {seconds:.2f} s after a frozen PostgreSQL went on")


async def test_broken_connections_are_replaced(own: Stack, http: httpx.AsyncClient) -> None:
    _ = own
    await http.post(
        "/sql",
        content="select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'headrace-orchestrator' and pid <> pg_backend_pid()",
    )

    answers = await asyncio.gather(*(http.post(f"/notes/{number}") for number in range(20)))

    assert {answer.status_code for answer in answers} <= {200, 429}
    assert await recovers(http, "again") < 5


async def test_a_request_that_finds_no_free_connection_is_turned_away(
    http: httpx.AsyncClient,
) -> None:
    holding = [asyncio.create_task(http.post("/hold/6")) for _ in range(10)]

    async def exhausted() -> bool:
        return (await http.post("/notes/late")).status_code == 429

    await until(exhausted, seconds=7, what="an exhausted pool")
    assert (await http.get("/readyz")).status_code == 200
    await asyncio.gather(*holding)
    assert await recovers(http, "later") < 5


@pytest.mark.parametrize("code", ["53100", "53200", "53300"])
async def test_a_database_without_room_is_429_and_says_so(
    http: httpx.AsyncClient, code: str
) -> None:
    answer = await http.post("/sql", content=f"do $$begin raise sqlstate '{code}'; end$$")

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "10"
    assert "no room" in answer.json()["message"]


@pytest.mark.parametrize("code", ["57P01", "57P02", "57P03", "25006", "40P01"])
async def test_a_database_that_comes_or_goes_is_429(http: httpx.AsyncClient, code: str) -> None:
    answer = await http.post("/sql", content=f"do $$begin raise sqlstate '{code}'; end$$")

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


async def test_a_defect_is_500_without_details(http: httpx.AsyncClient) -> None:
    answer = await http.post("/sql", content="select secret from nowhere")

    assert answer.status_code == 500
    assert answer.json() == {
        "error_code": "INTERNAL_ERROR",
        "message": "an internal error: UndefinedTableError",
    }
