"""Rollouts that drive themselves, on real processes: up to a promotion, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import tritonclient.grpc.aio as triton

from headrace.events import RolloutChanged
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask
from tests.harness.serving_traffic import begun, call, shown, tell_label, with_candidate

QUICK = {"steps": [20, 50], "step_seconds": 0.2, "step_requests": 20}


async def test_a_canary_as_good_as_the_champion_asks_for_its_promotion(
    serving: Serving, model: str
) -> None:
    files = await with_candidate(serving, model, champion=0.0, candidate=0.0)
    await _begin(serving, model, version=2, error_tolerance=0.2, **QUICK)
    async with _asked(serving, model):
        asked = await _heard(serving, model, "promote")
    assert [event.action for event in _told(serving, model)] == ["start", "advance", "promote"]
    assert [event.percent for event in _told(serving, model)] == [20, 50, 50]
    (found,) = asked.evidence
    assert found.criterion == "errors"
    assert found.difference_high <= found.tolerance == 0.2
    assert found.canary_count >= 20
    await serving.promote(model, 2, files)
    await _heard(serving, model, "finish")
    assert await _state(serving, model) == "promoted"


async def test_a_canary_that_predicts_worse_is_taken_back(serving: Serving, model: str) -> None:
    await with_candidate(serving, model, champion=0.0, candidate=1.0)
    quality = {"loss": "brier", "tolerance": 0.05}
    plan = {**QUICK, "step_seconds": 3600, "quality": quality}
    await _begin(serving, model, version=2, **plan)
    async with _asked(serving, model, label=0.0):
        stopped = await _heard(serving, model, "abort")
    quality_found = next(each for each in stopped.evidence if each.criterion == "quality")
    assert quality_found.difference_low > 0.05
    assert (quality_found.canary_mean, quality_found.champion_mean) == (1.0, 0.0)
    assert "quality: canary 1.0000" in stopped.reason
    await until(lambda: _champion_has_all(serving, model), what="the champion has everything")
    assert {await serving.score(model, request_id=f"k{key}") for key in range(30)} == {0.0}
    assert await _state(serving, model) == "aborted"


async def test_a_rollout_ends_where_a_person_sets_the_traffic(serving: Serving, model: str) -> None:
    await with_candidate(serving, model, champion=0.0, candidate=1.0)
    await _begin(serving, model, version=2, **{**QUICK, "step_seconds": 3600})
    set_ = await call(serving, "PUT", f"{model}/traffic", {"author": "ada"})
    assert set_.status_code == 202
    stopped = await _heard(serving, model, "abort")
    assert stopped.reason == "somebody set another table"


async def test_a_model_has_one_rollout_at_a_time(serving: Serving, model: str) -> None:
    await with_candidate(serving, model, champion=0.0, candidate=1.0)
    await _begin(serving, model, version=2, **{**QUICK, "step_seconds": 3600})
    again = await call(serving, "POST", f"{model}/rollouts", {"version": 2, "author": "ada"})
    assert again.status_code == 409
    ended = await call(serving, "DELETE", f"{model}/rollouts", author="ada")
    assert ended.status_code == 202
    assert await _state(serving, model) == "aborted"


async def _begin(serving: Serving, model: str, **body: Any) -> None:
    await begun(serving, "POST", f"{model}/rollouts", body)


@asynccontextmanager
async def _asked(
    serving: Serving, model: str, *, label: float | None = None
) -> AsyncIterator[None]:
    """Requests of many users meanwhile; the truth about each follows at once if `label` is it."""

    async def keep_asking() -> None:
        async with triton.InferenceServerClient(serving.grpc) as client:
            number = 0
            while True:
                number += 1
                await ask(client, model, request_id=f"{model}-{number}")
                if label is not None:
                    await tell_label(serving, model, f"{model}-{number}", label)

    task = asyncio.create_task(keep_asking())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _told(serving: Serving, model: str) -> list[RolloutChanged]:
    return [
        event.data
        for event in serving.events
        if isinstance(event.data, RolloutChanged) and event.data.model == model
    ]


async def _heard(serving: Serving, model: str, action: str) -> RolloutChanged:
    event = await serving.heard(
        RolloutChanged, lambda data: data.model == model and data.action == action
    )
    return event.data


async def _state(serving: Serving, model: str) -> str:
    (rollout,) = (await shown(serving, f"{model}/rollouts"))["rollouts"]
    return str(rollout["state"])


async def _champion_has_all(serving: Serving, model: str) -> bool:
    table = (await shown(serving, f"{model}/traffic"))["in_force"]
    return bool(table and not table["arms"])
