"""Whichever worker is asked, the statistics are those of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
import tritonclient.grpc.aio as triton

from headrace.events import ModelDeployed
from tests.harness import onnx_models
from tests.harness.serving_processes import Serving, ask
from tests.harness.supervised_workers import SupervisedWorker, supervised_workers


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def workers(serving: Serving) -> AsyncIterator[list[SupervisedWorker]]:
    """Two that are revived when they die."""
    async with supervised_workers(serving, 2) as running:
        yield running


async def test_either_of_two_workers_tells_the_requests_of_both(
    serving: Serving, workers: list[SupervisedWorker], model: str
) -> None:
    one, other = workers
    await _deploy(serving, model)
    await _ask(one, model, times=3)
    await _ask(other, model, times=4)
    assert [await _answered(one, model), await _answered(other, model)] == [7, 7]
    assert await _answered_by_rest(one, model) == 7
    assert [await _in_prometheus(one, model), await _in_prometheus(other, model)] == [3, 4]


async def test_statistics_outlive_a_killed_worker(
    serving: Serving, workers: list[SupervisedWorker], model: str
) -> None:
    victim, survivor = workers
    await _deploy(serving, model)
    await _ask(victim, model, times=3)
    victim.process.kill()
    assert await _answered(survivor, model) == 3
    await asyncio.to_thread(victim.process.wait_restarted)
    await _ask(victim, model, times=1)
    assert [await _answered(victim, model), await _answered(survivor, model)] == [4, 4]
    assert await _in_prometheus(victim, model) == 4


async def test_either_of_two_workers_tells_the_same_index(
    serving: Serving, workers: list[SupervisedWorker], model: str
) -> None:
    await _deploy(serving, model)
    assert [await _index(worker, model) for worker in workers] == [[("1", "READY")]] * 2


async def _deploy(serving: Serving, model: str) -> None:
    """Until all workers answer with it."""
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    await serving.heard(ModelDeployed, lambda data: data.model == model)


async def _ask(worker: SupervisedWorker, model: str, *, times: int) -> None:
    async with triton.InferenceServerClient(worker.grpc) as client:
        for _ in range(times):
            await ask(client, model)


async def _answered(worker: SupervisedWorker, model: str) -> int:
    async with triton.InferenceServerClient(worker.grpc) as client:
        told = await client.get_inference_statistics(model, as_json=True)
    return int(told["model_stats"][0]["inference_stats"]["success"]["count"])


async def _answered_by_rest(worker: SupervisedWorker, model: str) -> int:
    async with httpx.AsyncClient() as http:
        told = (await http.get(f"http://{worker.http}/v2/models/{model}/stats")).json()
    return int(told["model_stats"][0]["inference_stats"]["success"]["count"])


async def _index(worker: SupervisedWorker, model: str) -> list[tuple[str, str]]:
    async with triton.InferenceServerClient(worker.grpc) as client:
        index = await client.get_model_repository_index()
    return [(line.version, line.state) for line in index.models if line.name == model]


async def _in_prometheus(worker: SupervisedWorker, model: str) -> float:
    async with httpx.AsyncClient() as http:
        shown = (await http.get(f"http://{worker.http}/metrics")).text
    series = f'nv_inference_request_success{{model="{model}",version="1"}} '
    return sum(
        float(line.removeprefix(series)) for line in shown.splitlines() if line.startswith(series)
    )
