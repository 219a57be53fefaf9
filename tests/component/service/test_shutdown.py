"""What a process does between SIGTERM and its end, and that it can be stopped at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from deploy.local import Backends
from deploy.local.testing import TestDatabase
from headrace.events import PipelineRunRequested
from headrace.events.topics import ORCHESTRATOR_COMMANDS
from headrace.runtime.bus import Event, Tail
from headrace.runtime.service.lifecycle import serve
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import until
from tests.harness.inside import free_port
from tests.harness.small_service import NAME, Notes, living, settings

DRAIN = 1.0


@pytest.fixture
def notes(backends: Backends, database: TestDatabase) -> Notes:
    return Notes(settings(backends, database_url=database.url(NAME), drain_seconds=DRAIN))


@pytest_asyncio.fixture
async def commands(kafka: str) -> AsyncIterator[list[str]]:
    """Ids of the pipeline runs that are asked for from now on."""
    heard: list[str] = []

    async def note(event: Event[PipelineRunRequested]) -> None:
        heard.append(event.data.pipeline_run_id)

    tail = Tail(
        kafka=kafka,
        topics=(ORCHESTRATOR_COMMANDS,),
        on_event=note,
        log=configure_logs(service="test", level="warning"),
        start="end",
    )
    listening = asyncio.create_task(tail.run())
    await asyncio.wait_for(tail.caught_up.wait(), 20)
    yield heard
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_stopping_process_is_not_ready_but_answers_while_the_front_door_looks(
    notes: Notes,
) -> None:
    async with living(notes) as (http, stop):
        stop.set()

        async def unready() -> bool:
            return (await http.get("/readyz")).status_code == 503

        await until(unready, seconds=DRAIN / 2, what="an unready service")
        assert (await http.get("/readyz")).json()["reasons"] == ["stopping"]
        assert (await http.get("/readyz/shutdown")).status_code == 503
        assert (await http.get("/livez")).status_code == 200
        written = await http.post("/notes/last")
        assert written.status_code == 200
        assert written.headers["connection"] == "close"


async def test_a_request_in_hand_is_answered_before_the_process_ends(notes: Notes) -> None:
    async with living(notes) as (http, stop):
        asking = asyncio.create_task(http.get("/slow"))
        await until(lambda: notes.entered == 1, what="the request inside")
        stop.set()

        async def refused() -> bool:
            try:
                await http.get("/livez")
            except httpx.ConnectError:
                return True
            return False

        await until(refused, seconds=DRAIN + 3, what="a closed port")
        assert not asking.done()
        notes.go.set()

        assert (await asking).json() == {"answer": "late"}


async def test_events_of_the_last_requests_are_published_before_the_process_ends(
    notes: Notes, commands: list[str]
) -> None:
    async with living(notes) as (http, stop):
        texts = [f"note-{number}-{time.time_ns()}" for number in range(200)]
        for text in texts:
            assert (await http.post(f"/notes/{text}")).status_code == 200
        stop.set()

    await until(lambda: set(texts) <= set(commands), what="every event")
    assert sorted(text for text in commands if text in texts) == sorted(texts)


async def test_a_process_that_waits_for_its_database_can_be_stopped(backends: Backends) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    notes = Notes(settings(backends, database_url=nowhere))
    stop = asyncio.Event()
    log = configure_logs(service=NAME, level="warning")
    life = asyncio.create_task(serve(notes.service, log=log, stop=stop))
    began = time.monotonic()

    stop.set()
    await asyncio.wait_for(life, 5)

    assert time.monotonic() - began < 2


async def test_a_taken_port_ends_the_process_with_an_error(
    backends: Backends, database: TestDatabase, notes: Notes
) -> None:
    async with living(notes):
        port = notes.service.settings.http_port
        chosen = settings(backends, database_url=database.url(NAME))
        second = Notes(chosen.model_copy(update={"http_port": port}))
        log = configure_logs(service=NAME, level="warning")

        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await asyncio.wait_for(serve(second.service, log=log, stop=asyncio.Event()), 20)
