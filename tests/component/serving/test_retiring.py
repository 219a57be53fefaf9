"""A worker that is asked to stop says so to whoever balances, and answers whoever still comes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local import Backends
from deploy.local.testing import TestDatabase
from tests.harness.bus import until
from tests.harness.onnx_models import constant
from tests.harness.serving_processes import serving_processes


async def test_a_stopping_worker_is_not_serving_and_still_answers(
    backends: Backends, database: TestDatabase, tmp_path: Path, model: str
) -> None:
    async with serving_processes(backends, database, tmp_path, DRAIN_SECONDS="4") as serving:
        await serving.deploy(model, 1, constant(7.0))
        async with grpc.aio.insecure_channel(serving.grpc) as channel:
            health = health_pb2_grpc.HealthStub(channel)

            async def status() -> int:
                answer = await health.Check(health_pb2.HealthCheckRequest())
                return int(answer.status)

            assert await status() == health_pb2.HealthCheckResponse.SERVING
            os.kill(serving.worker.pid, signal.SIGTERM)

            async def retiring() -> bool:
                return bool(await status() == health_pb2.HealthCheckResponse.NOT_SERVING)

            await until(retiring, seconds=3, what="NOT_SERVING")
            assert await serving.score(model) == 7.0
        assert serving.worker.stop() == 0
