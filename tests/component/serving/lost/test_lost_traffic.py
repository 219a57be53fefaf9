"""Traffic of a serving whose database is lost comes back from its state topic."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from deploy.local.testing import TestDatabase
from headrace.events import RolloutChanged, TrafficState
from tests.harness import onnx_models
from tests.harness.bus import skip_history, until
from tests.harness.serving_processes import Serving
from tests.harness.serving_traffic import (
    ask_many,
    begun,
    in_force,
    shown,
    sticky_scores,
    tell_reward,
    with_candidate,
)


async def _start_without_schema(own: Serving, fresh: TestDatabase) -> None:
    """As after the loss of the database, with events that Kafka does not have any more."""
    own.control.kill()
    await skip_history(database=fresh, kafka=fresh.backends.kafka, service="serving")
    own.use(fresh)
    own.control.start()
    await own.control.wait_ready()


async def _told(own: Serving, model: str, version: int) -> TrafficState:
    event = await own.heard(
        TrafficState, lambda data: data.model == model and data.table_version == version
    )
    return event.data


async def test_the_table_in_force_and_every_key_stay_as_they_were(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    await with_candidate(own, model)
    await begun(own, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 10}]})
    body = {
        "arms": [{"version": 2, "percent": 40}],
        "experiment": "forty",
        "slow_ms": 7.5,
        "reason": "a test",
    }
    table = await begun(own, "PUT", f"{model}/traffic", body)
    await in_force(own, model, table["version"])
    before = await shown(own, f"{model}/traffic")
    answers = await sticky_scores(own.grpc, model, keys=120)
    await _told(own, model, table["version"])
    own.worker.stop()
    await _start_without_schema(own, fresh)
    own.worker.start()
    await own.worker.wait_ready()

    after = await shown(own, f"{model}/traffic")

    assert _lasting(after["in_force"]) == _lasting(before["in_force"])
    assert await sticky_scores(own.grpc, model, keys=120) == answers
    assert {1.0, 2.0} == set(answers)
    grown = {**body, "arms": [{"version": 2, "percent": 60}], "expected_version": table["version"]}
    await in_force(own, model, (await begun(own, "PUT", f"{model}/traffic", grown))["version"])
    moved = await sticky_scores(own.grpc, model, keys=120)
    assert all(new == 2.0 for old, new in zip(answers, moved, strict=True) if old == 2.0)


@pytest.mark.slow
async def test_a_table_stays_while_the_whole_history_is_read_again(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    """A fresh schema reads every event that Kafka still has: old promotions end no table."""
    files = await with_candidate(own, model)
    await own.promote(model, 2, files)
    await until(lambda: own.is_champion(model, 2), seconds=30, what="version 2 answers")
    table = await begun(own, "PUT", f"{model}/traffic", {"arms": [{"version": 1, "percent": 50}]})
    await in_force(own, model, table["version"])
    await _told(own, model, table["version"])
    answers = await sticky_scores(own.grpc, model, keys=40)
    own.control.kill()
    own.use(fresh)
    own.control.start()
    await own.control.wait_ready()
    await own.deploy(f"{model}-last", 1, onnx_models.constant(3.0))

    after = (await shown(own, f"{model}/traffic"))["in_force"]

    assert (after["version"], after["salt"]) == (table["version"], table["salt"])
    assert await sticky_scores(own.grpc, model, keys=40) == answers
    assert set(answers) == {1.0, 2.0}


@pytest.mark.slow
async def test_the_number_goes_on_where_the_champion_has_everything(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    files = await with_candidate(own, model)
    table = await begun(own, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 10}]})
    await in_force(own, model, table["version"])
    await own.promote(model, 2, files)
    await own.heard(TrafficState, lambda data: data.model == model and not data.arms)
    await _start_without_schema(own, fresh)

    after = await shown(own, f"{model}/traffic")
    again = await begun(own, "PUT", f"{model}/traffic", {"arms": []})

    assert after["in_force"] is None
    assert (again["version"], again["salt"]) == (table["version"] + 1, table["salt"])


@pytest.mark.slow
async def test_a_table_beside_a_champion_that_went_is_not_put_back(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    files = await with_candidate(own, model)
    table = await begun(own, "PUT", f"{model}/traffic", {"arms": [{"version": 2, "percent": 50}]})
    await in_force(own, model, table["version"])
    await _told(own, model, table["version"])
    own.control.kill()
    await own.promote(model, 2, files)
    await _start_without_schema(own, fresh)
    await until(lambda: own.is_champion(model, 2), seconds=30, what="version 2 answers")

    assert (await shown(own, f"{model}/traffic"))["in_force"] is None
    assert set(await sticky_scores(own.grpc, model, keys=20)) == {2.0}
    state = await own.heard(TrafficState, lambda data: data.model == model and not data.arms)
    assert (state.data.table_version, state.data.reason) == (
        table["version"],
        "another one is champion",
    )


@pytest.mark.slow
async def test_a_rollout_in_progress_goes_on(own: Serving, model: str, fresh: TestDatabase) -> None:
    await with_candidate(own, model)
    plan = {"steps": [20, 50], "step_seconds": 0.2, "step_requests": 10, "error_tolerance": 0.3}
    rollout = await begun(own, "POST", f"{model}/rollouts", {"version": 2, **plan})
    await in_force(own, model, rollout["table_version"])
    await _told(own, model, rollout["table_version"])
    await _start_without_schema(own, fresh)

    (again,) = (await shown(own, f"{model}/rollouts"))["rollouts"]
    assert {**again, "started_at": None} == {**rollout, "started_at": None}
    asked = 0

    async def promoted() -> bool:
        nonlocal asked
        asked += 20
        await ask_many(own, model, [f"{model}-{asked + number}" for number in range(20)])
        return any(
            isinstance(event.data, RolloutChanged)
            and event.data.model == model
            and event.data.action == "promote"
            for event in own.events
        )

    await until(promoted, seconds=60, what="its promotion")


@pytest.mark.slow
async def test_a_rollout_that_a_backup_has_in_an_earlier_step_goes_on_in_its_last(
    own: Serving, model: str
) -> None:
    await with_candidate(own, model)
    plan = {"steps": [20, 50], "step_seconds": 0.2, "step_requests": 10, "error_tolerance": 0.001}
    first = await begun(own, "POST", f"{model}/rollouts", {"version": 2, **plan})

    async def advanced() -> bool:
        await ask_many(own, model, [f"{model}-{number}" for number in range(60)])
        (rollout,) = (await shown(own, f"{model}/rollouts"))["rollouts"]
        table = (await shown(own, f"{model}/traffic"))["in_force"]
        return bool(table and table["version"] == rollout["table_version"] > first["table_version"])

    await until(advanced, seconds=30, what="the second step")
    await _told(own, model, first["table_version"] + 1)
    own.control.kill()
    await _go_back(own.database, model, first["table_version"])
    own.control.start()
    await own.control.wait_ready()

    (again,) = (await shown(own, f"{model}/rollouts"))["rollouts"]
    table = (await shown(own, f"{model}/traffic"))["in_force"]

    assert (again["rollout_id"], again["state"]) == (first["rollout_id"], "running")
    assert (again["step"], again["table_version"]) == (1, first["table_version"] + 1)
    assert (table["version"], table["arms"][0]["percent"]) == (again["table_version"], 50)


async def _go_back(database: TestDatabase, model: str, version: int) -> None:
    """As a backup that was taken while the first step ran."""
    connection = await asyncpg.connect(database.url("serving"))
    try:
        await connection.execute(
            "delete from serving.traffic_table where model=$1 and version > $2", model, version
        )
        await connection.execute(
            "update serving.traffic_table set state='in_force' where model=$1", model
        )
        await connection.execute(
            "update serving.rollout set step=0, table_version=$2 where model=$1", model, version
        )
    finally:
        await connection.close()


@pytest.mark.slow
async def test_a_bandit_remembers_what_its_arms_had_earned(
    own: Serving, model: str, fresh: TestDatabase
) -> None:
    await with_candidate(own, model, champion=0.0, candidate=1.0)
    plan = {"arms": {"bold": 2}, "floor": 10, "seconds": 1}
    bandit = await begun(own, "PUT", f"{model}/bandit", plan)
    await in_force(own, model, bandit["table_version"])
    answers = await ask_many(own, model, [f"{model}-{number}" for number in range(40)])
    for request_id, score in answers.items():
        await tell_reward(own, model, request_id, score)

    async def weighed() -> bool:
        """All rewards are in the weights of a table that is in force."""
        state = _newest(own, model)
        driver = state.driver if state else None
        return driver is not None and sum(each.count for each in driver.earned) == len(answers)

    await until(weighed, seconds=30, what="a table with all rewards")
    before = await shown(own, f"{model}/bandit")
    await _start_without_schema(own, fresh)

    after = await shown(own, f"{model}/bandit")

    assert after["running"]
    assert after["bandit_id"] == before["bandit_id"]
    assert after["rewards"] == before["rewards"]


def _newest(own: Serving, model: str) -> TrafficState | None:
    told = [
        event.data
        for event in own.events
        if isinstance(event.data, TrafficState) and event.data.model == model
    ]
    return told[-1] if told else None


def _lasting(table: dict[str, Any]) -> dict[str, Any]:
    """Without what is known only of the moment at which somebody asked for it."""
    return {**table, "created_at": None}
