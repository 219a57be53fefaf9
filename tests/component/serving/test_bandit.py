"""A bandit learns from rewards on Kafka and moves the traffic by tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import tritonclient.grpc.aio as triton

from headrace.events import PredictionLogged, RewardObserved
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask


async def test_a_bandit_moves_the_traffic_to_the_arm_that_earns(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(0.0))
    await serving.create(model, 2, await serving.upload(onnx_models.constant(1.0)))
    path = f"/api/serving/v1/models/{model}/bandit"
    body = {"arms": {"bold": 2}, "floor": 10, "seconds": 1, "author": "ada"}

    async def begun() -> bool:
        async with httpx.AsyncClient(base_url=serving.control.url) as http:
            return (await http.put(path, json=body)).status_code == 202

    await until(begun, what="version 2 known")
    await until(lambda: _is_split(serving, model), what="the first table in force")
    async with triton.InferenceServerClient(serving.grpc) as client:
        for number in range(80):
            request_id = f"{model}-{number}"
            score = await ask(client, model, request_id=request_id)
            for _ in range(2):
                await _reward(serving, model, f"{request_id}/0", score)

    async def learnt() -> bool:
        table = (await _get(serving, f"/api/serving/v1/models/{model}/traffic"))["in_force"]
        return bool(table and table["arms"][0]["percent"] >= 85)

    await until(learnt, seconds=30, what="the bold arm preferred")
    shown = await _get(serving, path)
    counted = sum(each["count"] for each in shown["rewards"].values())
    assert 0 < counted <= 80
    await until(lambda: _all_logged(serving, model), what="the log")
    propensities = {
        (each.arm, each.table_version): each.propensity for each in _logged(serving, model)
    }
    assert all(0.1 <= propensity <= 0.9 for propensity in propensities.values())


async def _reward(serving: Serving, model: str, prediction_id: str, reward: float) -> None:
    observed = RewardObserved(
        project=serving.project,
        model=model,
        prediction_id=prediction_id,
        reward=reward,
        observed_at=datetime.now(UTC),
    )
    await serving.publisher.emit(observed, correlation_id="rewards")


async def _get(serving: Serving, path: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=serving.control.url) as http:
        shown: dict[str, Any] = (await http.get(path)).json()
    return shown


async def _is_split(serving: Serving, model: str) -> bool:
    shown = await _get(serving, f"/api/serving/v1/models/{model}/traffic")
    return bool(shown["in_force"] and shown["in_force"]["arms"])


def _logged(serving: Serving, model: str) -> list[PredictionLogged]:
    return [
        event.data
        for event in serving.events
        if isinstance(event.data, PredictionLogged) and event.data.model == model
    ]


def _all_logged(serving: Serving, model: str) -> bool:
    return sum(len(each.prediction_ids) for each in _logged(serving, model)) >= 80
