"""Logged models that name the versions which were registered from them."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

from mlflow import MlflowClient

from headrace.client import EventProducer
from headrace.events import ModelVersionCreated
from tests.harness.bus import until

TAG = "mlflow.modelVersions"


def created(model_id: str | None, name: str, version: int) -> ModelVersionCreated:
    return ModelVersionCreated(
        model=name, version=version, source="models:/x", logged_model_id=model_id
    )


async def told(kafka: str, client: MlflowClient, *events: ModelVersionCreated) -> None:
    """Tell of versions, and wait until the last of the same registered model has been read."""
    last = await asyncio.to_thread(client.create_logged_model, "0")
    end = created(last.model_id, events[-1].model, 1000)
    async with EventProducer(kafka=kafka, source="/registry") as producer:
        for event in (*events, end):
            await producer.emit(event)

    async def read() -> bool:
        found = await asyncio.to_thread(client.get_logged_model, last.model_id)
        return TAG in found.tags

    await until(read, what="the last version to be read")


def named(client: MlflowClient, model_id: str) -> list[dict[str, str]]:
    versions: list[dict[str, str]] = json.loads(client.get_logged_model(model_id).tags[TAG])
    return versions


async def test_a_logged_model_names_each_of_its_versions_once(
    client: MlflowClient, experiment: str, kafka: str
) -> None:
    model_id = client.create_logged_model(experiment).model_id
    name = f"mill {uuid4()}"
    first, second = created(model_id, name, 1), created(model_id, name, 2)
    await told(kafka, client, first, first, second)
    expected = [{"name": name, "version": "1"}, {"name": name, "version": "2"}]
    assert named(client, model_id) == expected


async def test_a_version_that_the_client_named_already_is_not_named_again(
    client: MlflowClient, experiment: str, kafka: str
) -> None:
    model_id = client.create_logged_model(experiment).model_id
    name = f"mill {uuid4()}"
    given = json.dumps([{"name": name, "version": 1}])
    client.set_logged_model_tags(model_id, {TAG: given})
    await told(kafka, client, created(model_id, name, 1))
    assert client.get_logged_model(model_id).tags[TAG] == given


async def test_a_tag_that_is_used_for_something_else_stays(
    client: MlflowClient, experiment: str, kafka: str
) -> None:
    model_id = client.create_logged_model(experiment).model_id
    client.set_logged_model_tags(model_id, {TAG: "mine"})
    await told(kafka, client, created(model_id, f"mill {uuid4()}", 1))
    assert client.get_logged_model(model_id).tags[TAG] == "mine"


async def test_versions_of_no_logged_model_or_of_an_unknown_one_are_passed_over(
    client: MlflowClient, kafka: str
) -> None:
    name = f"mill {uuid4()}"
    await told(kafka, client, created(None, name, 1), created("m-unknown", name, 2))
    (found,) = client.search_logged_models(["0"], filter_string=f"tags.`{TAG}` LIKE '%{name}%'")
    assert found.tags[TAG] == json.dumps([{"name": name, "version": "1000"}])
