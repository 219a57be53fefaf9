"""A request and what it causes are one chain, whoever named it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from deploy.local import Backends
from deploy.local.testing import TestDatabase
from headrace.events.topics import ORCHESTRATOR_COMMANDS
from headrace.ids import new_id
from headrace.runtime.bus import Event, Tail
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import until
from tests.harness.small_service import NAME, Notes, living, settings


@pytest_asyncio.fixture
async def http(backends: Backends, database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with living(Notes(settings(backends, database_url=database.url(NAME)))) as (client, _):
        yield client


@pytest_asyncio.fixture
async def events(kafka: str) -> AsyncIterator[dict[str, Event[Any]]]:
    """Events from now on, by their id."""
    heard: dict[str, Event[Any]] = {}

    async def note(event: Event[Any]) -> None:
        heard[event.id] = event

    log = configure_logs(service="test", level="warning")
    topics = (ORCHESTRATOR_COMMANDS,)
    tail = Tail(kafka=kafka, topics=topics, on_event=note, log=log, start="end")
    reading = asyncio.create_task(tail.run())
    await asyncio.wait_for(tail.caught_up.wait(), 20)
    yield heard
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_request_without_a_chain_begins_one_that_its_answer_and_its_event_name(
    http: httpx.AsyncClient, events: dict[str, Event[Any]]
) -> None:
    answer = await http.post(f"/notes/{new_id()}")
    event = answer.json()["event"]

    await until(lambda: event in events, what="the event")
    assert answer.headers["x-correlation-id"] == events[event].correlation_id


async def test_a_request_goes_on_with_the_chain_that_it_names(
    http: httpx.AsyncClient, events: dict[str, Event[Any]]
) -> None:
    chain = {"x-correlation-id": "turn-7", "x-causation-id": "alert-3"}
    answer = await http.post(f"/notes/{new_id()}", headers=chain)
    event = answer.json()["event"]

    await until(lambda: event in events, what="the event")
    assert answer.headers["x-correlation-id"] == "turn-7"
    assert events[event].correlation_id == "turn-7"
    assert events[event].envelope.causation_id == "alert-3"
