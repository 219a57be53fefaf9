"""More models than fit the memory of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
import pytest_asyncio
import tritonclient.grpc.aio as triton

from deploy.local import Backends
from deploy.local.testing import create_database, drop_database
from headrace.events import DeploymentFailed, ModelDeployed
from tests.harness import onnx_models
from tests.harness.serving_processes import Serving, serving_processes

BUDGET = 400_000
MODELS = [f"many-{number}" for number in range(6)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def crowded(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    """Processes whose worker has room for some of MODELS, each of which answers its place."""
    directory = tmp_path_factory.mktemp("crowded")
    database = await create_database(backends)
    settings = {"MODEL_MEMORY_BYTES": str(BUDGET)}
    async with serving_processes(backends, database, directory, **settings) as running:
        for place, name in enumerate(MODELS):
            files = await running.upload(onnx_models.constant(float(place)))
            await running.promote(name, 1, files)
        for name in MODELS:
            await running.heard(ModelDeployed, partial(_is_of, name))
        yield running
    await drop_database(database)


def _is_of(name: str, data: ModelDeployed) -> bool:
    return data.model == name


async def figures(serving: Serving) -> dict[str, float]:
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{serving.worker.url}/metrics")).text
    lines = [line.split() for line in text.splitlines() if line.startswith("model")]
    return {line[0]: float(line[1]) for line in lines if len(line) == 2}


async def test_all_answer_though_not_all_are_in_memory(crowded: Serving) -> None:
    before = await figures(crowded)
    assert 0 < before["models_in_memory"] < len(MODELS)
    assert [await crowded.score(name) for name in MODELS] == list(range(len(MODELS)))
    after = await figures(crowded)
    assert after["model_evictions_total"] > before["model_evictions_total"]
    assert 0 < after["model_memory_bytes"] <= BUDGET


async def test_calls_at_once_for_all_of_them_are_answered(crowded: Serving) -> None:
    scores = await asyncio.gather(*(crowded.score(name) for _ in range(5) for name in MODELS))
    assert scores == list(range(len(MODELS))) * 5


async def test_index_and_readiness_know_all_of_them(crowded: Serving) -> None:
    async with triton.InferenceServerClient(crowded.grpc) as client:
        index = await client.get_model_repository_index()
        ready = [await client.is_model_ready(name) for name in MODELS]
    assert ready == [True] * len(MODELS)
    states = {line.name: (line.state, line.reason) for line in index.models}
    assert {states[name][0] for name in MODELS} == {"READY"}
    assert ("READY", "not in memory: the next call loads it") in states.values()


async def test_what_was_measured_is_known_after_a_restart(crowded: Serving) -> None:
    before = await figures(crowded)
    crowded.worker.stop()
    crowded.control.stop()
    crowded.control.start()
    crowded.worker.start()
    await crowded.control.wait_ready()
    await crowded.worker.wait_ready()
    after = await figures(crowded)
    assert after["models_in_memory"] == before["models_in_memory"]
    assert [await crowded.score(name) for name in MODELS] == list(range(len(MODELS)))


async def test_model_that_fits_no_worker_is_refused(crowded: Serving) -> None:
    files = await crowded.upload(onnx_models.wide(columns=500_000))
    await crowded.promote(MODELS[0], 2, files)
    failed = await crowded.heard(DeploymentFailed, lambda data: data.model == MODELS[0])
    assert "HEADRACE_SERVING_MODEL_MEMORY_BYTES" in failed.data.reason
    assert failed.data.kept_version == 1
    assert await crowded.score(MODELS[0]) == 0.0
