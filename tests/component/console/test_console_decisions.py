"""A person decides at the console; the registry does it; the page tells it from the log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest

from deploy.local import Backends, provision
from deploy.local.testing import create_database, drop_database
from headrace.ids import new_id
from headrace.runtime.blobs import Blobs
from services.console.app import build as build_console
from services.console.settings import Settings as ConsoleSettings
from services.registry.app import build as build_registry
from services.registry.settings import Settings as RegistrySettings
from tests.harness.bus import skip_history, until
from tests.harness.inside import free_port, running

NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Desk:
    """A console and the registry behind it, with one model that people must approve."""

    console: httpx.AsyncClient
    registry: httpx.AsyncClient
    blobs: Blobs
    model: str

    async def ask_for_promotion(self) -> tuple[int, str]:
        """A new version that waits for approval: its number and the request's id."""
        prefix = f"1/models/{new_id()}/artifacts"
        await self.blobs.put(f"artifacts/{prefix}/model.onnx", new_id().encode())
        made = await self.registry.post(
            "/api/2.0/mlflow/model-versions/create",
            json={"name": self.model, "source": f"mlflow-artifacts:/{prefix}"},
        )
        version = int(made.json()["model_version"]["version"])
        asked = await self.registry.post(
            f"/api/registry/v1/models/{self.model}/versions/{version}/promotion-requests",
            json={"requested_by": "trainer"},
        )
        assert asked.json()["outcome"] == "waiting", asked.text
        return version, asked.json()["request_id"]

    async def decide(self, request_id: str, verb: str) -> httpx.Response:
        path = f"/api/console/v1/promotion-requests/{request_id}/{verb}"
        await self.shows(request_id)
        return await self.console.post(path, json={"name": "Ada", "comment": "looks right"})

    async def shows(self, text: str) -> str:
        """The page, once it holds a text."""
        page = ""

        async def held() -> bool:
            nonlocal page
            page = (await self.console.get("/", params={"model": self.model})).text
            return text in page

        await until(held, what=f"{text!r} on the page")
        return page


@dataclass(frozen=True)
class Running:
    """What all tests of this module share."""

    console: httpx.AsyncClient
    registry: httpx.AsyncClient
    blobs: Blobs


@pytest.fixture(scope="module")
async def services(backends: Backends) -> AsyncIterator[Running]:
    database = await create_database(backends)
    name = f"test-{new_id()}"
    await asyncio.to_thread(provision.bucket, backends, name)
    registry = RegistrySettings(
        http_port=free_port(),
        kafka=backends.kafka,
        database_url=database.url("registry"),
        s3_endpoint=backends.s3_endpoint,
        s3_bucket=name,
        s3_access_key=backends.s3_access_key,
        s3_secret_key=backends.s3_secret_key,
        tracking_url=NOWHERE,
    )
    console = ConsoleSettings(
        http_port=free_port(),
        kafka=backends.kafka,
        front_url=NOWHERE,
        registry_url=f"http://127.0.0.1:{registry.http_port}",
        orchestrator_url=NOWHERE,
        monitoring_url=NOWHERE,
        serving_url=NOWHERE,
    )
    await skip_history(database=database, kafka=backends.kafka, service="registry")
    async with AsyncExitStack() as stack:
        blobs = await stack.enter_async_context(
            Blobs.open(
                endpoint=backends.s3_endpoint,
                bucket=name,
                access_key=backends.s3_access_key,
                secret_key=backends.s3_secret_key,
            )
        )
        asked = await stack.enter_async_context(running(build_registry(registry)))
        shown = await stack.enter_async_context(running(build_console(console)))
        yield Running(console=shown, registry=asked, blobs=blobs)
    await drop_database(database)


@pytest.fixture
async def desk(services: Running) -> Desk:
    model = f"model-{new_id()[-8:]}"
    registry = services.registry
    await registry.post("/api/2.0/mlflow/registered-models/create", json={"name": model})
    policy = f"/api/registry/v1/models/{model}/policy"
    assert (await registry.put(policy, json={"auto_promote": False})).status_code == 200
    return Desk(console=services.console, registry=registry, blobs=services.blobs, model=model)


def champion(page: str) -> str:
    found = re.search(r'tile-champion">.*?class="big">(.*?)<', page, re.DOTALL)
    assert found
    return found.group(1)


async def test_an_approval_promotes_and_stays_in_the_turn_that_asked(desk: Desk) -> None:
    version, request_id = await desk.ask_for_promotion()

    answer = await desk.decide(request_id, "approve")

    assert answer.status_code == 200, answer.text
    page = await desk.shows("ModelPromoted")
    assert champion(page) == f"v{version}"
    assert "approved by Ada" in page
    assert page.count('class="turn target"') == 1
    assert 'class="banner"' not in page


async def test_a_rejection_keeps_the_champion(desk: Desk) -> None:
    _, first = await desk.ask_for_promotion()
    await desk.decide(first, "approve")
    _, second = await desk.ask_for_promotion()

    answer = await desk.decide(second, "reject")

    assert answer.status_code == 200, answer.text
    page = await desk.shows("v2 was rejected, the champion stays")
    assert champion(page) == "v1"


async def test_a_request_is_decided_once(desk: Desk) -> None:
    _, request_id = await desk.ask_for_promotion()
    await desk.decide(request_id, "approve")

    answer = await desk.console.post(
        f"/api/console/v1/promotion-requests/{request_id}/reject", json={"name": "Bob"}
    )

    assert answer.status_code == 409
    assert answer.json()["message"]


async def test_a_rollback_goes_to_the_version_on_the_button(desk: Desk) -> None:
    for _ in range(2):
        _, request_id = await desk.ask_for_promotion()
        await desk.decide(request_id, "approve")
    await desk.shows("Roll back to v1")
    path = f"/api/console/v1/models/{desk.model}/rollback"

    answer = await desk.console.post(path, json={"name": "Ada", "from_version": 2})
    stale = await desk.console.post(path, json={"name": "Bob", "from_version": 2})

    assert answer.json()["version"] == 1
    assert stale.status_code == 409
    page = await desk.shows("rollback by hand")
    assert champion(page) == "v1"
    assert "Roll back to" not in page
