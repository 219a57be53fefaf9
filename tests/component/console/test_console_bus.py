"""The console against the real broker: rebuilt from the log, live from then on."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import httpx
import orjson

from headrace.client.records import durable_producer
from headrace.events import (
    DeploymentState,
    ModelAliasState,
    ModelPromoted,
    PredictionLogged,
    contract_of,
)
from headrace.runtime.bus import Publisher
from services.console.app import build
from services.console.settings import Settings
from tests.harness.bus import until
from tests.harness.inside import free_port, running
from tests.harness.recorded import DIGEST, Recorder, emit_drift

NOWHERE = "http://127.0.0.1:9"
DAY = date(2013, 3, 9)


@asynccontextmanager
async def console(kafka: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        http_port=free_port(),
        kafka=kafka,
        front_url=NOWHERE,
        registry_url=NOWHERE,
        orchestrator_url=NOWHERE,
        monitoring_url=NOWHERE,
        serving_url=NOWHERE,
    )
    async with running(build(settings)) as client:
        yield client


async def publish(kafka: str, events: Sequence[Any]) -> None:
    async with Publisher(kafka=kafka, source="/test") as publisher:
        await publisher.emit_many(events)


def promoted(model: str, version: int) -> ModelPromoted:
    return ModelPromoted(
        model=model,
        version=version,
        cause="promotion",
        digest=DIGEST,
        files=[],
        promoted_at=datetime.now(UTC),
    )


def champion_state(
    model: str, version: int, *, rollback_version: int | None = None
) -> ModelAliasState:
    return ModelAliasState(
        model=model,
        alias="champion",
        version=version,
        rollback_version=rollback_version,
        cause="promotion",
        digest=DIGEST,
        moved_at=datetime.now(UTC),
        promoted_event=str(uuid4()),
    )


def deployment_state(model: str, version: int) -> DeploymentState:
    return DeploymentState(
        model=model,
        version=version,
        digest=DIGEST,
        deployed_at=datetime.now(UTC),
        deployed_event=str(uuid4()),
        promoted_event=str(uuid4()),
    )


async def remove(kafka: str, data: ModelAliasState | DeploymentState) -> None:
    """A tombstone for the key of this state."""
    contract = contract_of(data)
    producer = durable_producer(kafka, client_id="test")
    await producer.start()
    try:
        await producer.send_and_wait(
            contract.topic.name, value=None, key=contract.key(data).encode()
        )
    finally:
        await producer.stop()


def champion(page: str) -> str:
    found = re.search(r'tile-champion">.*?class="big">(.*?)<', page, re.DOTALL)
    assert found
    return found.group(1)


async def test_a_console_that_starts_late_knows_what_happened_before(kafka: str) -> None:
    model = f"model-{uuid4().hex[:8]}"
    await publish(
        kafka, [champion_state(model, 1), deployment_state(model, 1), champion_state(model, 2)]
    )

    async with console(kafka) as client:
        page = (await client.get("/", params={"model": model})).text

    assert champion(page) == "v2"
    assert "not answering yet" in page


async def test_the_champion_board_needs_no_event_topic(kafka: str) -> None:
    """As after their retention: no event of this model was ever published, its states were."""
    model = f"model-{uuid4().hex[:8]}"
    await publish(kafka, [champion_state(model, 7, rollback_version=4), deployment_state(model, 7)])

    async with console(kafka) as client:
        page = (await client.get("/", params={"model": model})).text

    assert champion(page) == "v7"
    assert "not answering yet" not in page
    assert "Roll back to v4" in page


async def test_a_champion_that_is_gone_leaves_the_board(kafka: str) -> None:
    model = f"model-{uuid4().hex[:8]}"
    state = champion_state(model, 1)
    await publish(kafka, [state, promoted(model, 1)])
    await remove(kafka, state)

    async with console(kafka) as client:
        page = (await client.get("/", params={"model": model})).text

    assert champion(page) == "\N{EN DASH}"


async def test_the_stream_tells_what_changed_and_goes_on_after_a_break(kafka: str) -> None:
    model = f"model-{uuid4().hex[:8]}"
    await publish(kafka, [champion_state(model, 1)])

    async with console(kafka) as client:
        page = (await client.get("/", params={"model": model})).text
        after = re.search(r"after=([0-9a-f.-]+)", page)
        assert after
        await publish(kafka, [champion_state(model, 2), deployment_state(model, 2)])
        identity, regions = await next_change(
            client, model, {"last-event-id": after.group(1)}, "v2"
        )
        recorder = Recorder(now=datetime.now(UTC), random=random.Random())
        emit_drift(recorder, DAY, 2, model=model)
        await publish(kafka, [event.data for event in recorder.events])
        _, later = await next_change(client, model, {"last-event-id": identity}, "alert")

    assert champion(regions["headline"]) == "v2"
    assert "accuracy" not in regions
    assert "predicts worse" in later["alerts"]


async def test_rows_of_the_prediction_log_are_counted(kafka: str) -> None:
    model = f"model-{uuid4().hex[:8]}"
    async with console(kafka) as client:
        now = int(datetime.now(UTC).timestamp() * 1e6)
        batch = PredictionLogged(
            project="default",
            model=model,
            version=1,
            prediction_ids=[f"r/{row}" for row in range(37)],
            event_times_us=[now] * 37,
            logged_at_us=now,
        )
        await publish(kafka, [batch])

        async def counted() -> bool:
            page = (await client.get("/", params={"model": model})).text
            return "37 rows since the console started" in page

        await until(counted, what="counted rows")


async def test_an_open_stream_does_not_hold_up_the_end(kafka: str) -> None:
    async with console(kafka) as client, client.stream("GET", "/stream") as stream:
        lines = stream.aiter_lines()
        assert (await anext(lines)).startswith("retry")
        began = asyncio.get_running_loop().time()

    assert asyncio.get_running_loop().time() - began < 3


async def next_change(
    client: httpx.AsyncClient, model: str, headers: dict[str, str], holding: str
) -> tuple[str, dict[str, str]]:
    """The first change of a stream that holds a text: its id and all regions up to it."""
    regions: dict[str, str] = {}
    identity = ""
    async with client.stream("GET", "/stream", params={"model": model}, headers=headers) as stream:
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                identity = value
            if name == "data":
                regions.update(orjson.loads(value))
                if any(holding in html for html in regions.values()):
                    return identity, regions
    raise AssertionError("the stream ended")
