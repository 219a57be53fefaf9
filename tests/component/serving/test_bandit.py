"""A bandit learns from rewards on Kafka and moves the traffic by tables."""

from __future__ import annotations

import tritonclient.grpc.aio as triton

from headrace.events import PredictionLogged
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask
from tests.harness.serving_traffic import begun, in_force, shown, tell_reward, with_candidate


async def test_a_bandit_moves_the_traffic_to_the_arm_that_earns(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model, champion=0.0, candidate=1.0)
    body = {"arms": {"bold": 2}, "floor": 10, "seconds": 1}
    bandit = await begun(serving, "PUT", f"{model}/bandit", body)
    await in_force(serving, model, bandit["table_version"])
    async with triton.InferenceServerClient(serving.grpc) as client:
        for number in range(80):
            request_id = f"{model}-{number}"
            score = await ask(client, model, request_id=request_id)
            for _ in range(2):
                await tell_reward(serving, model, request_id, score)

    async def learnt() -> bool:
        table = (await shown(serving, f"{model}/traffic"))["in_force"]
        return bool(table and table["arms"][0]["percent"] >= 85)

    await until(learnt, seconds=30, what="the bold arm preferred")
    rewards = (await shown(serving, f"{model}/bandit"))["rewards"]
    counted = sum(each["count"] for each in rewards.values())
    assert 0 < counted <= 80
    await until(lambda: _all_logged(serving, model), what="the log")
    propensities = {
        (each.arm, each.table_version): each.propensity for each in _logged(serving, model)
    }
    assert all(0.1 <= propensity <= 0.9 for propensity in propensities.values())


def _logged(serving: Serving, model: str) -> list[PredictionLogged]:
    return [
        event.data
        for event in serving.events
        if isinstance(event.data, PredictionLogged) and event.data.model == model
    ]


def _all_logged(serving: Serving, model: str) -> bool:
    return sum(len(each.prediction_ids) for each in _logged(serving, model)) >= 80
