"""What live traffic shows becomes a promotion, or not: serving and registry as they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import tritonclient.grpc.aio as triton

from deploy.local import Stack
from headrace.client import EventProducer
from headrace.events import LabelObserved, RewardObserved
from headrace.runtime.blobs import Blobs
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUICK = {"steps": [20, 50], "step_seconds": 0.2, "step_requests": 20, "error_tolerance": 0.2}
SERVING = "/api/serving/v1/models"
REGISTRY = "/api/registry/v1"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack.temporary(services=("registry", "serving", "serving-worker")) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Both services, to be used as their users do."""

    registry: httpx.AsyncClient
    serving: httpx.AsyncClient
    endpoint: triton.InferenceServerClient
    producer: EventProducer
    blobs: Blobs

    async def call(
        self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """JSON of a call that succeeds."""
        answer = await client.request(method, path, json=body)
        assert answer.is_success, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def version(self, model: str, value: float) -> int:
        """A registered version that always answers `value`."""
        prefix = f"1/models/{uuid4().hex}/artifacts"
        await self.blobs.put(f"artifacts/{prefix}/model.onnx", onnx_models.constant(value))
        made = await self.call(
            self.registry,
            "POST",
            "/api/2.0/mlflow/model-versions/create",
            {"name": model, "source": f"mlflow-artifacts:/{prefix}"},
        )
        return int(made["model_version"]["version"])

    async def model(self, value: float) -> str:
        """A model whose first version answers."""
        model = f"model-{uuid4().hex[:12]}"
        path = "/api/2.0/mlflow/registered-models/create"
        await self.call(self.registry, "POST", path, {"name": model})
        version = await self.version(model, value)
        path = f"{REGISTRY}/models/{model}/versions/{version}/promotion-requests"
        await self.call(self.registry, "POST", path, {"requested_by": "trainer"})
        await self.until_served(model, version)
        return model

    async def champion(self, model: str) -> int:
        """The registry's champion."""
        shown = await self.call(self.registry, "GET", f"{REGISTRY}/models/{model}")
        return int(shown["champion"])

    async def until_served(self, model: str, version: int) -> None:
        """Wait until serving answers with a version."""

        async def deployed() -> bool:
            answer = await self.serving.get(f"{SERVING}/{model}")
            champion = answer.json().get("champion") if answer.is_success else None
            return bool(champion and champion["version"] == version and champion["finished_at"])

        await until(deployed, seconds=60, what=f"{model} v{version} deployed")

    async def begin(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Begin what names a version, as soon as serving knows of that."""
        answers: list[httpx.Response] = []

        async def taken() -> bool:
            answers.append(await self.serving.request(method, path, json=body))
            return answers[-1].status_code != 403

        await until(taken, what="the version known")
        assert answers[-1].status_code == 202, answers[-1].text
        document: dict[str, Any] = answers[-1].json()
        return document

    async def rollout(self, model: str) -> dict[str, Any]:
        """The newest rollout of a model."""
        shown = await self.call(self.serving, "GET", f"{SERVING}/{model}/rollouts")
        newest: dict[str, Any] = shown["rollouts"][0]
        return newest

    async def ended(self, model: str, state: str) -> dict[str, Any]:
        """The newest rollout, once it ended so."""

        async def over() -> bool:
            return bool((await self.rollout(model))["state"] == state)

        await until(over, seconds=60, what=f"a rollout {state}")
        return await self.rollout(model)

    @asynccontextmanager
    async def asked(self, model: str, *, label: float | None = None) -> AsyncIterator[None]:
        """Requests of many users meanwhile, and the truth about each if `label` is it."""

        async def keep_asking() -> None:
            while True:
                request_id = uuid4().hex
                await ask(self.endpoint, model, request_id=request_id)
                if label is not None:
                    await self.producer.emit(
                        LabelObserved(
                            model=model,
                            prediction_id=f"{request_id}/0",
                            label=label,
                            observed_at=datetime.now(UTC),
                        )
                    )

        task = asyncio.create_task(keep_asking())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.wait({task})


@pytest_asyncio.fixture(loop_scope="session")
async def platform(stack: Stack) -> AsyncIterator[Platform]:
    backends = stack.backends
    async with (
        httpx.AsyncClient(base_url=stack.urls["registry"], timeout=30) as registry,
        httpx.AsyncClient(base_url=stack.urls["serving"], timeout=30) as serving,
        triton.InferenceServerClient(stack.urls["grpc"]) as endpoint,
        EventProducer(kafka=backends.kafka, source="/system-test") as producer,
        Blobs.open(
            endpoint=backends.s3_endpoint,
            bucket=backends.s3_bucket,
            access_key=backends.s3_access_key,
            secret_key=backends.s3_secret_key,
        ) as blobs,
    ):
        yield Platform(
            registry=registry, serving=serving, endpoint=endpoint, producer=producer, blobs=blobs
        )


async def test_a_canary_that_is_no_worse_is_made_champion_by_policy(platform: Platform) -> None:
    model = await platform.model(0.0)
    canary = await platform.version(model, 0.0)
    body = {"version": canary, "author": "ada", **QUICK}
    await platform.begin("POST", f"{SERVING}/{model}/rollouts", body)
    async with platform.asked(model):
        await platform.ended(model, "promoted")
    await platform.until_served(model, canary)
    assert await platform.champion(model) == canary
    path = f"{REGISTRY}/promotion-requests?model={model}"
    (request, _) = (await platform.call(platform.registry, "GET", path))["promotion_requests"]
    assert request["requested_by"] == "rollout of ada"
    assert request["reason"].startswith("errors: canary 0.0000")


async def test_a_canary_that_is_worse_never_becomes_champion(platform: Platform) -> None:
    model = await platform.model(0.0)
    worse = await platform.version(model, 1.0)
    quality = {"loss": "brier", "tolerance": 0.05}
    body = {"version": worse, "author": "ada", **QUICK, "step_seconds": 3600, "quality": quality}
    await platform.begin("POST", f"{SERVING}/{model}/rollouts", body)
    async with platform.asked(model, label=0.0):
        aborted = await platform.ended(model, "aborted")
    assert "quality: canary 1.0000" in aborted["outcome"]
    assert await platform.champion(model) == 1


async def test_a_rollout_whose_promotion_a_person_rejects_is_taken_back(
    platform: Platform,
) -> None:
    model = await platform.model(0.0)
    canary = await platform.version(model, 0.0)
    policy = {"auto_promote": False}
    await platform.call(platform.registry, "PUT", f"{REGISTRY}/models/{model}/policy", policy)
    body = {"version": canary, "author": "ada", **QUICK}
    await platform.begin("POST", f"{SERVING}/{model}/rollouts", body)
    async with platform.asked(model):
        await platform.ended(model, "promoting")
    waiting = await _waiting(platform, model)
    path = f"{REGISTRY}/promotion-requests/{waiting['request_id']}/reject"
    await platform.call(
        platform.registry, "POST", path, {"approver": "grace", "comment": "not before Monday"}
    )
    aborted = await platform.ended(model, "aborted")
    assert aborted["outcome"] == "its promotion was rejected: not before Monday"

    async def given_back() -> bool:
        table = await platform.call(platform.serving, "GET", f"{SERVING}/{model}/traffic")
        return bool(table["in_force"] and not table["in_force"]["arms"])

    await until(given_back, what="the champion has everything")
    assert await platform.champion(model) == 1


async def test_the_winner_of_an_experiment_is_made_champion_by_policy(platform: Platform) -> None:
    model = await platform.model(0.0)
    bold = await platform.version(model, 1.0)
    path = f"{SERVING}/{model}/experiments/colours"
    arms = [{"name": "bold", "version": bold, "percent": 50}]
    await platform.begin("PUT", path, {"arms": arms, "author": "ada"})
    rewarded = 0

    async def proven() -> bool:
        nonlocal rewarded
        for _ in range(20):
            request_id = uuid4().hex
            score = await ask(platform.endpoint, model, request_id=request_id)
            await platform.producer.emit(
                RewardObserved(
                    model=model,
                    prediction_id=f"{request_id}/0",
                    reward=score,
                    observed_at=datetime.now(UTC),
                )
            )
            rewarded += 1
        first = (await platform.call(platform.serving, "GET", path))["arms"][0]
        return bool(first["better"])

    await until(proven, seconds=60, what="the bold arm proven to be better")
    await platform.call(
        platform.serving, "PUT", f"{path}/conclusion", {"winner": "bold", "author": "ada"}
    )
    await platform.until_served(model, bold)
    assert await platform.champion(model) == bold


async def _waiting(platform: Platform, model: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        path = f"{REGISTRY}/promotion-requests?model={model}&state=waiting"
        shown = await platform.call(platform.registry, "GET", path)
        found[:] = shown["promotion_requests"]
        return bool(found)

    await until(there, what="a waiting request")
    return found[0]
