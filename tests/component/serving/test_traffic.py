"""Traffic that is split: set over HTTP, routed by every worker, logged and told."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import tritonclient.grpc.aio as triton

from headrace.events import (
    PredictionLogged,
    ShadowCompared,
    TrafficState,
    TrafficTableChanged,
    TrafficTableFailed,
)
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask, second_worker
from tests.harness.serving_traffic import (
    begun,
    call,
    in_force,
    shown,
    sticky_scores,
    with_candidate,
)


async def test_a_canary_gets_its_share_and_each_key_its_version(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    table = await _set(serving, model, arms=[{"version": 2, "percent": 30}])
    changed = await serving.heard(TrafficTableChanged, lambda data: data.model == model)
    assert (changed.data.table_version, changed.data.author) == (table["version"], "ada")
    state = await serving.heard(TrafficState, lambda data: data.model == model)
    assert sum(part.end - part.start for part in state.data.buckets if part.arm == "canary") == 3000
    async with second_worker(serving) as other:
        first = await sticky_scores(serving.grpc, model, keys=400)
        assert first == await sticky_scores(other.grpc, model, keys=400)
    assert 80 <= first.count(2.0) <= 160


async def test_a_ramp_keeps_every_key_that_had_the_canary(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    await _set(serving, model, arms=[{"version": 2, "percent": 10}])
    before = await sticky_scores(serving.grpc, model, keys=300)
    await _set(serving, model, arms=[{"version": 2, "percent": 50}])
    after = await sticky_scores(serving.grpc, model, keys=300)
    assert all(new == 2.0 for old, new in zip(before, after, strict=True) if old == 2.0)
    assert after.count(2.0) > before.count(2.0)


async def test_predictions_are_logged_with_table_arm_and_propensity(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    await serving.score(model, request_id="before")
    table = await _set(serving, model, arms=[{"version": 2, "percent": 25}], experiment="newer-one")
    await sticky_scores(serving.grpc, model, keys=40)

    def rows() -> dict[str, PredictionLogged]:
        return {
            row: event.data
            for event in serving.events
            if isinstance(event.data, PredictionLogged) and event.data.model == model
            for row in event.data.prediction_ids
        }

    await until(lambda: len(rows()) >= 41, what="logged rows")
    logged = rows()
    without = logged.pop("before/0")
    assert (without.table_version, without.propensity, without.arm) == (0, 1.0, "")
    told = {
        (each.version, each.arm, each.propensity, each.table_version, each.experiment)
        for each in logged.values()
    }
    number = table["version"]
    assert told == {
        (1, "champion", 0.75, number, "newer-one"),
        (2, "canary", 0.25, number, "newer-one"),
    }


async def test_the_answer_says_its_route_and_the_route_is_honoured(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    await _set(serving, model, arms=[{"version": 2, "percent": 50}], experiment="e")
    async with triton.InferenceServerClient(serving.grpc) as client:
        for version in (1, 2):
            route = f":{model}_{version}:"
            for number in range(10):
                request_id = f"r{number}"
                score = await ask(
                    client, model, request_id=request_id, headers={"x-seldon-route": route}
                )
                assert score == float(version)


async def test_labels_name_versions(serving: Serving, model: str) -> None:
    files = await with_candidate(serving, model)
    await _set(serving, model, arms=[{"version": 2, "percent": 1}])
    assert await serving.score(model, version="champion") == 1.0
    assert await serving.score(model, version="canary") == 2.0
    assert await serving.score(model, version="2") == 2.0
    await serving.point(model, "newest", 2, files)

    async def resolved() -> bool:
        try:
            return await serving.score(model, version="@newest") == 2.0
        except Exception:
            return False

    await until(resolved, what="@newest")


async def test_a_shadow_is_compared_and_never_answers(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    table = await _set(serving, model, shadows=[{"version": 2, "percent": 100}])
    asked: set[str] = set()

    def compared() -> list[ShadowCompared]:
        return [
            event.data
            for event in serving.events
            if isinstance(event.data, ShadowCompared) and event.data.model == model
        ]

    def rows_compared() -> set[str]:
        return {row for each in compared() for row in each.prediction_ids}

    async with triton.InferenceServerClient(serving.grpc) as client:

        async def some_are_compared() -> bool:
            """A busy machine drops shadows, never answers: ask on until some are compared."""
            number = len(asked)
            asked.add(f"s{number}/0")
            assert await ask(client, model, request_id=f"s{number}") == 1.0
            return len(rows_compared()) >= 5

        await until(some_are_compared, what="rows compared")
    assert rows_compared() <= asked
    first = compared()[0]
    pair = (first.version, first.shadow_version, first.table_version)
    assert pair == (1, 2, table["version"])
    assert {distance for each in compared() for distance in each.distances} == {1.0}
    rows = len(first.prediction_ids)
    assert first.outputs[0].data == np.full(rows, 1.0, "<f4").tobytes()
    assert first.shadow_outputs[0].data == np.full(rows, 2.0, "<f4").tobytes()


async def test_a_table_that_names_a_broken_version_leaves_the_one_before(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    await _set(serving, model, arms=[{"version": 2, "percent": 100}])
    await serving.create(model, 3, await serving.upload(b"no model at all"))
    await until(lambda: _is_known(serving, model, 3), what="version 3 known")
    await serving.heard(TrafficTableFailed, lambda data: data.model == model)
    assert await serving.score(model) == 2.0
    failed = (await shown(serving, f"{model}/traffic"))["latest"]
    assert failed["state"] == "failed"
    assert "ONNX Runtime" in failed["failure"]


async def test_ending_the_traffic_gives_all_to_the_champion(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    await _set(serving, model, arms=[{"version": 2, "percent": 100}])
    assert await serving.score(model) == 2.0
    gone = await call(serving, "DELETE", f"{model}/traffic", author="ada", reason="enough")
    assert gone.status_code == 202, gone.text
    await in_force(serving, model, gone.json()["version"])
    assert await serving.score(model) == 1.0


async def test_a_promotion_ends_the_table(serving: Serving, model: str) -> None:
    files = await with_candidate(serving, model)
    await _set(serving, model, arms=[{"version": 2, "percent": 10}])
    await serving.promote(model, 2, files)
    await until(lambda: serving.is_champion(model, 2), what="version 2 answers")
    await until(lambda: _nothing_in_force(serving, model), what="the table ended")
    assert await serving.score(model) == 2.0
    assert await serving.score(model, version="1") == 1.0


async def test_a_restarted_control_process_and_worker_route_as_before(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    await _set(serving, model, arms=[{"version": 2, "percent": 40}])
    before = await sticky_scores(serving.grpc, model, keys=200)
    serving.worker.kill()
    serving.control.kill()
    serving.control.start()
    serving.worker.start()
    await serving.control.wait_ready()
    await serving.worker.wait_ready()
    assert await sticky_scores(serving.grpc, model, keys=200) == before


async def test_what_cannot_be_a_table_is_refused_by_name(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    for body, status, field in (
        (
            {"arms": [{"version": 2, "percent": 60}, {"version": 2, "percent": 1}]},
            400,
            "arms.0.name",
        ),
        ({"arms": [{"version": 1, "percent": 1}]}, 400, "arms.0.version"),
        ({"arms": [{"version": 2, "percent": 101}]}, 400, "arms.0.percent"),
        ({"shadows": [{"version": 1, "percent": 5}]}, 400, "shadows.0"),
        ({"arms": [{"version": 9, "percent": 5}]}, 403, ""),
        ({"arms": [], "expected_version": 7}, 409, ""),
    ):
        answer = await _put(serving, model, body)
        assert answer.status_code == status, answer.text
        assert answer.json().get("field", "").startswith(field)
    unknown = await _put(serving, f"{model}-unknown", {"arms": []})
    assert unknown.status_code == 404


async def _set(serving: Serving, model: str, **body: Any) -> dict[str, Any]:
    """Set the traffic as soon as its versions are known, and wait until it is in force."""
    table = await begun(serving, "PUT", f"{model}/traffic", {"reason": "a test", **body})
    await in_force(serving, model, table["version"])
    return table


async def _put(serving: Serving, model: str, body: dict[str, Any]) -> httpx.Response:
    return await call(serving, "PUT", f"{model}/traffic", {"author": "ada", **body})


async def _is_known(serving: Serving, model: str, version: int) -> bool:
    body = {"arms": [{"version": version, "percent": 5}]}
    return (await _put(serving, model, body)).status_code == 202


async def _nothing_in_force(serving: Serving, model: str) -> bool:
    return (await shown(serving, f"{model}/traffic"))["in_force"] is None
