"""Nothing of the platform is there but the worker's own disk: what answered answers again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local import Backends
from deploy.local.testing import create_database, drop_database
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, serving_processes

AWAY = {
    "HEADRACE_SERVING_KAFKA": "127.0.0.1:9",
    "HEADRACE_SERVING_DATABASE_URL": "postgresql://serving@127.0.0.1:9/nowhere",
    "HEADRACE_SERVING_S3_ENDPOINT": "http://127.0.0.1:9",
}


@pytest_asyncio.fixture(loop_scope="session")
async def own(backends: Backends, tmp_path: Path) -> AsyncIterator[Serving]:
    database = await create_database(backends)
    async with serving_processes(backends, database, tmp_path, RECALL_SECONDS="1") as running:
        yield running
    await drop_database(database)


def cut_off(own: Serving) -> None:
    """As after a power cut: both processes gone, every backend out of reach."""
    own.worker.kill()
    own.control.kill()
    own.control.env = own.control.env | AWAY
    own.worker.env = own.worker.env | AWAY
    own.control.start()
    own.worker.start()


@pytest.mark.slow
async def test_a_restart_without_any_backend_serves_the_cached_champion_and_later_ones(
    own: Serving, model: str
) -> None:
    before = own.control.env, own.worker.env
    await own.deploy(model, 1, onnx_models.constant(1.0))
    await own.deploy(model, 2, onnx_models.constant(2.0))
    cut_off(own)
    await own.worker.wait_ready()
    assert await own.score(model) == 2.0
    assert await own.score(model, version="1") == 1.0

    own.control.kill()
    own.control.env, _ = before
    own.control.start()
    await own.control.wait_ready()
    await own.deploy(model, 3, onnx_models.constant(3.0))
    assert await own.score(model) == 3.0


@pytest.mark.slow
async def test_a_damaged_cache_is_not_served_from_memory(own: Serving, model: str) -> None:
    other = f"{model}-other"
    await own.deploy(model, 1, onnx_models.constant(1.0))
    await own.deploy(other, 1, onnx_models.constant(5.0))
    cache = own.control.log.parent / "cache"
    for file in cache.rglob("model.onnx"):
        if file.read_bytes() == onnx_models.constant(1.0):
            file.write_bytes(onnx_models.constant(9.0))
    cut_off(own)
    await own.worker.wait_ready()
    assert await own.score(other) == 5.0
    with pytest.raises(Exception, match="unknown model"):
        await own.score(model)


@pytest.mark.slow
async def test_what_is_told_counts_more_than_what_is_remembered(own: Serving, model: str) -> None:
    await own.deploy(model, 1, onnx_models.constant(1.0))
    own.worker.kill()
    await own.promote(model, 2, await own.upload(onnx_models.constant(2.0)))
    own.worker.start()
    await own.worker.wait_ready()
    await until(lambda: own.is_champion(model, 2), seconds=60, what="version 2")
    assert await own.score(model) == 2.0
