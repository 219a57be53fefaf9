"""kill -9 of either process changes nothing that was deployed."""

from __future__ import annotations

import httpx

from headrace.events import FirstAnswerServed, ModelDeployed
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving


async def test_killed_worker_comes_back_with_its_champions(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    await serving.deploy(model, 2, onnx_models.constant(2.0))
    serving.worker.kill()
    serving.worker.start()
    await serving.worker.wait_ready()
    assert await serving.score(model) == 2.0
    assert await serving.score(model, version="1") == 1.0


async def test_worker_is_not_ready_before_it_knows_its_champions(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    serving.worker.kill()
    serving.control.kill()
    serving.worker.start()
    await until(lambda: _is_alive(serving), what="worker alive")
    assert not await serving.worker.is_ready()
    serving.control.start()
    await serving.worker.wait_ready()
    assert await serving.score(model) == 1.0
    await serving.control.wait_ready()


async def test_worker_answers_while_control_is_dead(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    await serving.heard(ModelDeployed, lambda data: data.model == model)
    serving.control.kill()
    assert await serving.score(model) == 1.0
    assert await serving.worker.is_ready()
    files = await serving.upload(onnx_models.constant(2.0))
    await serving.promote(model, 2, files)
    serving.control.start()
    await serving.heard(ModelDeployed, lambda data: data.model == model and data.version == 2)
    assert await serving.score(model) == 2.0
    await serving.control.wait_ready()


async def test_deployment_interrupted_by_death_is_told_exactly_once(
    serving: Serving, model: str
) -> None:
    """Versions 2 and 3 may be overtaken while control is dead: then they never answer."""
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    for version in (2, 3, 4):
        files = await serving.upload(onnx_models.constant(float(version)))
        await serving.promote(model, version, files)
        serving.control.kill()
        serving.control.start()
    await serving.heard(ModelDeployed, lambda data: data.model == model and data.version == 4)
    assert await serving.score(model) == 4.0
    await serving.heard(FirstAnswerServed, lambda data: data.model == model and data.version == 4)
    told = [
        event.data.version
        for event in serving.events
        if isinstance(event.data, ModelDeployed) and event.data.model == model
    ]
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (1, 4)
    await serving.control.wait_ready()


async def test_damaged_cache_is_fetched_again(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    cache = serving.control.log.parent / "cache"
    for file in cache.rglob("model.onnx"):
        file.write_bytes(b"damaged")
    serving.worker.kill()
    serving.control.kill()
    serving.control.start()
    serving.worker.start()
    await serving.worker.wait_ready()
    # Where the control process is slow, the worker answers first with what is whole.
    await until(lambda: serving.is_champion(model, 1), seconds=60, what="the champion is back")
    assert await serving.score(model) == 1.0
    await serving.control.wait_ready()


async def _is_alive(serving: Serving) -> bool:
    try:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{serving.worker.url}/livez")).status_code == 200
    except httpx.HTTPError:
        return False
