"""kill -9 of a worker while clients ask: its supervisor has it back, the others never notice."""

from __future__ import annotations

import time

from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.constant_load import constant_load
from tests.harness.serving_processes import Serving
from tests.harness.supervised_workers import supervised_workers


async def test_others_answer_on_and_the_killed_one_is_back(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    async with supervised_workers(serving, 2) as (victim, survivor):
        addresses = [victim.grpc, survivor.grpc]
        async with constant_load(model, addresses) as (of_victim, of_survivor):
            await until(
                lambda: of_victim.answered_after(0) and of_survivor.answered_after(0),
                what="both workers answer",
            )
            victim.process.kill()
            killed = time.monotonic()
            await until(lambda: of_victim.answered_after(killed), seconds=30, what="it is back")
            back = of_victim.answered[-1]
            await until(lambda: of_survivor.answered_after(back), what="the survivor answers on")
        assert of_survivor.failures == []
        assert of_victim.failures != []
        assert any(killed < at < back for at in of_survivor.answered)


async def test_clients_of_a_shared_port_are_answered_by_the_survivor(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    async with supervised_workers(serving, 2, shared_port=True) as (victim, survivor):
        assert victim.grpc == survivor.grpc
        async with constant_load(model, [victim.grpc] * 6) as clients:
            await until(
                lambda: all(client.answered_after(0) for client in clients),
                what="every client is answered",
            )
            victim.process.abandon()
            victim.process.kill()
            killed = time.monotonic()
            await until(
                lambda: all(client.answered_after(killed) for client in clients),
                what="the survivor answers every client",
            )
