"""Models that clients unload and load again, with the setting that lets them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
import tritonclient.grpc.aio as triton

from deploy.local import Backends
from deploy.local.testing import create_database, drop_database
from headrace.events import ModelDeployed
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, second_worker, serving_processes


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def explicit(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    """Processes of this module alone, in a database that no other control process serves."""
    database = await create_database(backends)
    directory = tmp_path_factory.mktemp("explicit")
    async with serving_processes(
        backends, database, directory, MODEL_CONTROL="explicit"
    ) as running:
        yield running
    await drop_database(database)


@pytest_asyncio.fixture(loop_scope="session")
async def client(explicit: Serving) -> AsyncIterator[triton.InferenceServerClient]:
    async with triton.InferenceServerClient(explicit.grpc) as connected:
        yield connected


async def _index(client: triton.InferenceServerClient, model: str) -> list[tuple[str, str, str]]:
    index = await client.get_model_repository_index()
    return [(line.version, line.state, line.reason) for line in index.models if line.name == model]


async def test_unloaded_model_answers_no_more_until_it_is_loaded(
    explicit: Serving, client: triton.InferenceServerClient, model: str
) -> None:
    await explicit.deploy(model, 1, onnx_models.constant(1.0))
    await client.unload_model(model)
    assert not await client.is_model_ready(model)
    assert await _index(client, model) == [("", "UNAVAILABLE", "unloaded")]
    with pytest.raises(triton.InferenceServerException) as failed:
        await explicit.score(model)
    assert failed.value.status() == "StatusCode.NOT_FOUND"
    assert (
        failed.value.message() == f"Request for unknown model: '{model}' has no available versions"
    )
    await client.load_model(model)
    assert await explicit.score(model) == 1.0
    assert await _index(client, model) == [("1", "READY", "")]


async def test_every_worker_has_unloaded_it_when_the_call_returns(
    explicit: Serving, client: triton.InferenceServerClient, model: str
) -> None:
    await explicit.deploy(model, 1, onnx_models.constant(1.0))
    async with (
        second_worker(explicit) as second,
        triton.InferenceServerClient(second.grpc) as other,
    ):
        assert await other.is_model_ready(model)
        await client.unload_model(model)
        assert not await other.is_model_ready(model)
        await other.load_model(model)
        assert await client.is_model_ready(model)


@pytest.mark.slow
async def test_unloaded_model_stays_out_over_a_restart(
    explicit: Serving, client: triton.InferenceServerClient, model: str
) -> None:
    await explicit.deploy(model, 1, onnx_models.constant(1.0))
    await client.unload_model(model)
    for process in (explicit.worker, explicit.control):
        process.kill()
    for process in (explicit.control, explicit.worker):
        process.start()
    await explicit.worker.wait_ready()
    assert await _index(client, model) == [("", "UNAVAILABLE", "unloaded")]
    await client.load_model(model)
    assert await explicit.score(model) == 1.0


async def test_promotion_of_an_unloaded_model_is_carried_out_when_it_is_loaded(
    explicit: Serving, client: triton.InferenceServerClient, model: str
) -> None:
    await explicit.deploy(model, 1, onnx_models.constant(1.0))
    await client.unload_model(model)
    await explicit.promote(model, 2, await explicit.upload(onnx_models.constant(2.0)))
    probe = f"probe-{uuid4().hex}"
    await explicit.deploy(probe, 1, onnx_models.constant(0.0))
    assert not await client.is_model_ready(model)
    await client.load_model(model)
    deployed = await explicit.heard(
        ModelDeployed, lambda data: data.model == model and data.version == 2
    )
    assert deployed.data.previous_version == 1
    assert await explicit.score(model) == 2.0


async def test_loading_what_nobody_promoted_fails_and_unloading_it_is_fine(
    explicit: Serving, client: triton.InferenceServerClient, model: str
) -> None:
    assert explicit.project
    await client.unload_model(model)
    with pytest.raises(triton.InferenceServerException) as failed:
        await client.load_model(model)
    assert failed.value.status() == "StatusCode.INTERNAL"
    assert (
        failed.value.message() == f"failed to load '{model}', failed to poll from model repository"
    )


async def test_without_the_control_process_nothing_is_unloaded(
    explicit: Serving, client: triton.InferenceServerClient, model: str
) -> None:
    await explicit.deploy(model, 1, onnx_models.constant(1.0))
    explicit.control.kill()
    try:
        with pytest.raises(triton.InferenceServerException, match="does not answer") as failed:
            await client.unload_model(model)
        assert failed.value.status() == "StatusCode.UNAVAILABLE"
        assert await explicit.score(model) == 1.0
    finally:
        explicit.control.start()
        await explicit.control.wait_ready()
    await until(lambda: _unloads(client, model), what="unloaded after all")


async def _unloads(client: triton.InferenceServerClient, model: str) -> bool:
    try:
        await client.unload_model(model)
    except triton.InferenceServerException:
        return False
    return not await client.is_model_ready(model)
