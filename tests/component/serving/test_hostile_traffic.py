"""Traffic under what goes wrong: crashes, races, versions that fail, text that cannot be stored."""

from __future__ import annotations

import asyncio

import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from headrace.events import RolloutChanged, TrafficTableChanged
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask
from tests.harness.serving_traffic import (
    ask_many,
    begun,
    call,
    in_force,
    shown,
    sticky_scores,
    with_candidate,
)


@pytest.mark.slow
async def test_a_control_process_that_dies_with_a_table_in_hand_puts_it_in_force_once(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    table = await begun(
        serving, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 50}]}
    )
    serving.control.kill()
    serving.control.start()
    await serving.control.wait_ready()
    await in_force(serving, model, table["version"])
    scores = await sticky_scores(serving.grpc, model, keys=40)
    after = await begun(
        serving, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 60}]}
    )
    await in_force(serving, model, after["version"])
    await serving.heard(
        TrafficTableChanged,
        lambda data: data.model == model and data.table_version == after["version"],
    )
    assert set(scores) == {1.0, 2.0}
    told = [
        event.data.table_version
        for event in serving.events
        if isinstance(event.data, TrafficTableChanged) and event.data.model == model
    ]
    assert told == [table["version"], after["version"]]


async def test_of_calls_that_expect_the_same_table_one_sets_the_next(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    first = await begun(
        serving, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 1}]}
    )
    body = {"author": "ada", "expected_version": first["version"]}
    answers = await asyncio.gather(
        *(
            call(
                serving,
                "PUT",
                f"{model}/traffic",
                {**body, "arms": [{"version": 2, "percent": percent}]},
            )
            for percent in range(10, 15)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    (set_,) = [answer.json() for answer in answers if answer.status_code == 202]
    await in_force(serving, model, set_["version"])


async def test_calls_that_expect_nothing_are_numbered_one_after_the_other(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    first = await begun(
        serving, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 1}]}
    )
    answers = await asyncio.gather(
        *(call(serving, "PUT", f"{model}/traffic", {"author": "ada"}) for _ in range(5))
    )
    numbers = sorted(answer.json()["version"] for answer in answers)
    assert numbers == [first["version"] + step for step in range(1, 6)]
    await in_force(serving, model, numbers[-1])


async def test_of_two_that_want_to_drive_a_model_one_does(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    await begun(serving, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 1}]})
    arms = [{"name": "bold", "version": 2, "percent": 50}]
    answers = await asyncio.gather(
        call(serving, "POST", f"{model}/rollouts", {"author": "ada", "version": 2}),
        call(serving, "PUT", f"{model}/bandit", {"author": "ada", "arms": {"bold": 2}}),
        call(serving, "PUT", f"{model}/experiments/e", {"author": "ada", "arms": arms}),
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409]


async def test_a_canary_that_fails_requests_is_taken_back(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(0.0))
    broken = onnx_models.failing_on_large(1.0)
    await serving.create(model, 2, await serving.upload(broken))
    plan = {"version": 2, "steps": [50], "step_seconds": 3600, "error_tolerance": 0.05}
    rollout = await begun(serving, "POST", f"{model}/rollouts", plan)
    await in_force(serving, model, rollout["table_version"])
    answers: list[float] = []
    failures: list[str] = []

    async with triton.InferenceServerClient(serving.grpc) as client:

        async def taken_back() -> bool:
            for number in range(10):
                try:
                    request_id = f"{len(answers)}-{len(failures)}-{number}"
                    answers.append(await ask(client, model, request_id=request_id, element=1.0))
                except InferenceServerException as error:
                    failures.append(str(error))
            return any(
                isinstance(event.data, RolloutChanged)
                and event.data.model == model
                and event.data.action == "abort"
                for event in serving.events
            )

        await until(taken_back, seconds=30, what="the canary taken back")
        await until(lambda: _is_whole(serving, model), what="the champion has everything")
        for number in range(20):
            assert await ask(client, model, request_id=f"after-{number}", element=1.0) == 0.0
    assert set(answers) == {0.0}
    assert failures
    (ended,) = (await shown(serving, f"{model}/rollouts"))["rollouts"]
    assert ended["outcome"].startswith("errors: canary 1.0000")


async def test_text_that_cannot_be_stored_is_refused_by_name(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    arms = [{"name": "bold", "version": 2, "percent": 50}]
    for path, body, field in (
        (f"{model}/traffic", {"author": "a\x00b"}, "author"),
        (f"{model}/traffic", {"author": "ada", "reason": "a\x00b"}, "reason"),
        (f"{model}/traffic", {"author": "ada", "salt": "a\x00b"}, "salt"),
        (f"{model}/experiments/e", {"author": "ada", "arms": arms, "reason": "\x00"}, "reason"),
        (f"{model}/bandit", {"author": "ada", "arms": {"a\x00b": 2}}, "arms"),
    ):
        answer = await call(serving, "PUT", path, body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["field"].startswith(field), answer.text
    nameless = await call(serving, "PUT", f"{model}%00/traffic", {"author": "ada"})
    assert nameless.status_code in {400, 404}, nameless.text


async def test_predictions_go_on_while_tables_change_all_the_time(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    table = await begun(
        serving, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 1}]}
    )
    await in_force(serving, model, table["version"])
    seen: list[float] = []

    async def change() -> int:
        version = 0
        for percent in range(10, 60, 5):
            arms = [{"version": 2, "percent": percent}]
            answer = await call(serving, "PUT", f"{model}/traffic", {"author": "ada", "arms": arms})
            version = int(answer.json()["version"])
        return version

    changing = asyncio.create_task(change())
    while not changing.done():
        ids = [f"{len(seen)}-{number}" for number in range(20)]
        seen.extend((await ask_many(serving, model, ids)).values())
    await in_force(serving, model, await changing)
    assert set(seen) <= {1.0, 2.0}
    assert len(seen) >= 20


async def _is_whole(serving: Serving, model: str) -> bool:
    table = (await shown(serving, f"{model}/traffic"))["in_force"]
    return bool(table and not table["arms"])
