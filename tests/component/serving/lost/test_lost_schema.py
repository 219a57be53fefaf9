"""Serving whose database is lost comes back from the registry's state topic alone."""

from __future__ import annotations

import asyncpg
import httpx

from deploy.local.testing import TestDatabase
from headrace.events import DeploymentFailed, ModelDeployed
from headrace.events.topics import GROUPS
from tests.harness import onnx_models
from tests.harness.bus import ends, skip_history, until
from tests.harness.serving_processes import Serving


async def lose_schema(own: Serving, fresh: TestDatabase) -> None:
    """As after the loss of the database, with events that Kafka does not have any more."""
    await skip_history(database=fresh, kafka=fresh.backends.kafka, service="serving")
    own.use(fresh)


async def lose_events(database: TestDatabase) -> None:
    """Have serving go on at the present end of what it reads."""
    connection = await asyncpg.connect(database.url("serving"))
    topics = [topic.name for topic in GROUPS["serving.events"]]
    try:
        for place, end in (await ends(database.backends.kafka, topics)).items():
            await connection.execute(
                "update serving.consumer_offset set next_offset=$3 where topic=$1 and part=$2",
                place.topic,
                place.partition,
                end,
            )
    finally:
        await connection.close()


async def champion(own: Serving, model: str) -> int | None:
    async with httpx.AsyncClient(base_url=own.control.url) as http:
        answer = await http.get(f"/api/serving/v1/models/{model}")
    shown = answer.json().get("champion") if answer.status_code == 200 else None
    return shown["version"] if shown else None


async def test_a_fresh_schema_serves_what_is_promoted_once_it_is_ready(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    await own.deploy(model, 1, onnx_models.constant(1.0))
    files = await own.deploy(model, 2, onnx_models.constant(2.0))
    first = await own.heard(ModelDeployed, lambda data: (data.model, data.version) == (model, 2))
    own.worker.stop()
    own.control.stop()
    await lose_schema(own, fresh)

    own.control.start()
    own.worker.start()
    await own.control.wait_ready()
    assert await champion(own, model) == 2
    await own.worker.wait_ready()

    assert await own.score(model) == 2.0
    again = await own.heard(
        ModelDeployed,
        lambda data: data.model == model and data.deployed_at > first.data.deployed_at,
    )
    assert (again.data.version, again.data.files) == (2, files)
    assert again.correlation_id == first.correlation_id
    assert again.envelope.causation_id == first.envelope.causation_id


async def test_a_worker_goes_on_answering_while_the_schema_is_rebuilt(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    await own.deploy(model, 1, onnx_models.constant(1.0))
    own.control.kill()
    await lose_schema(own, fresh)
    own.control.start()
    answers = []

    async def ready() -> bool:
        answers.append(await own.score(model))
        return await own.control.is_ready()

    await until(ready, seconds=60, what="control ready")
    await own.heard(ModelDeployed, lambda data: data.model == model and data.version == 1)

    assert set(answers) == {1.0}
    assert await own.score(model) == 1.0


async def test_old_promotions_that_come_again_do_not_lead_back(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    """The log still has its history: a fresh schema reads all of it."""
    for version in (1, 2, 3):
        await own.deploy(model, version, onnx_models.constant(float(version)))
    own.control.kill()
    own.use(fresh)
    own.control.start()
    await own.control.wait_ready()
    await own.deploy(model, 4, onnx_models.constant(4.0))

    async with httpx.AsyncClient(base_url=own.control.url) as http:
        shown = (await http.get(f"/api/serving/v1/models/{model}")).json()["deployments"]

    states = {each["version"]: each["state"] for each in shown}
    assert states == {1: "dropped", 2: "dropped", 3: "done", 4: "done"}


async def test_a_newer_promotion_than_the_schema_knows_is_deployed(
    own: Serving, model: str
) -> None:
    """As after a restored backup whose missing events have expired."""
    await own.deploy(model, 1, onnx_models.constant(1.0))
    own.control.kill()
    await own.promote(model, 2, await own.upload(onnx_models.constant(2.0)))
    await lose_events(own.database)
    own.control.start()
    await own.heard(ModelDeployed, lambda data: data.model == model and data.version == 2)

    assert await own.score(model) == 2.0
    assert await own.score(model, version="1") == 1.0


async def test_what_answers_is_kept_as_state(own: Serving, model: str) -> None:
    await own.deploy(model, 1, onnx_models.constant(1.0))
    await until(lambda: model in own.states, what="a state")
    deployed = await own.heard(ModelDeployed, lambda data: data.model == model)
    state = own.states[model]
    assert (state.version, state.files) == (1, deployed.data.files)
    assert (state.deployed_at, state.deployed_event) == (deployed.data.deployed_at, deployed.id)
    assert state.promoted_event == deployed.envelope.causation_id

    await own.promote(model, 2, await own.upload(b"no model at all"))
    await own.heard(DeploymentFailed, lambda data: data.model == model)

    assert own.states[model].version == 1


async def test_a_promoted_version_that_cannot_be_served_leaves_no_state(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    await own.promote(model, 1, await own.upload(b"no model at all"))
    await own.heard(DeploymentFailed, lambda data: data.model == model)
    own.control.kill()
    await lose_schema(own, fresh)
    own.stateless.discard(model)
    own.control.start()
    await own.control.wait_ready()

    await until(lambda: model in own.stateless, what="a tombstone")
    assert await champion(own, model) is None


async def test_known_champions_answer_also_while_kafka_is_away(own: Serving, model: str) -> None:
    await own.deploy(model, 1, onnx_models.constant(1.0))
    own.worker.stop()
    own.control.stop()
    reachable = own.control.env
    own.control.env = reachable | {"HEADRACE_SERVING_KAFKA": "127.0.0.1:9"}
    try:
        own.control.start()
        own.worker.start()
        await own.worker.wait_ready()
        assert await own.score(model) == 1.0
        assert not await own.control.is_ready()
    finally:
        own.control.kill()
        own.control.env = reachable
        own.control.start()
    await own.control.wait_ready()
