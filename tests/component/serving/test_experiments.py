"""Experiments on real processes: begun, read while they run, concluded, stopped."""

from __future__ import annotations

from typing import Any

from headrace.events import ExperimentChanged, TrafficState
from tests.harness.bus import until
from tests.harness.serving_processes import Serving
from tests.harness.serving_traffic import (
    ask_many,
    begun,
    call,
    in_force,
    shown,
    tell_label,
    tell_reward,
    with_candidate,
)

HALVES = {"arms": [{"name": "bold", "version": 2, "percent": 50}], "alpha": 0.1}


async def test_an_experiment_shows_what_its_arms_earned_and_names_a_winner(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model, champion=0.0, candidate=1.0)
    made = await begun(serving, "PUT", f"{model}/experiments/first", {**HALVES, "size": 20})
    await in_force(serving, model, made["table_version"])
    answers = await ask_many(serving, model, [f"{model}-{number}" for number in range(120)])
    for request_id, score in answers.items():
        for _ in range(2):
            await tell_reward(serving, model, request_id, score)
    await _counted(serving, model, "first", len(answers))

    bold, control = (await shown(serving, f"{model}/experiments/first"))["arms"]

    assert (bold["mean"], control["mean"]) == (1.0, 0.0)
    assert bold["outcomes"] == list(answers.values()).count(1.0)
    assert bold["interval"][0] <= 1.0 <= bold["interval"][1]
    assert bold["difference"][0] > 0
    assert bold["p_value"] < 0.1
    assert bold["better"]
    assert bold["enough"]
    ended = await _conclude(serving, model, "first", winner="bold")
    assert (ended["state"], ended["winner"], ended["proven"]) == ("concluded", "bold", True)
    told = await _told(serving, model, "conclude")
    assert (told.winner, told.winner_version, told.proven) == ("bold", 2, True)
    assert {each.arm: each.count for each in told.results} == {
        "bold": bold["outcomes"],
        "champion": control["outcomes"],
    }
    await serving.heard(TrafficState, lambda data: data.model == model and not data.arms)
    assert set((await ask_many(serving, model, ["a", "b", "c", "d"])).values()) == {0.0}


async def test_labels_are_counted_by_the_loss_that_was_asked_for(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model, champion=0.0, candidate=1.0)
    body = {**HALVES, "metric": {"kind": "wrong", "scale": 0.5}}
    made = await begun(serving, "PUT", f"{model}/experiments/labels", body)
    await in_force(serving, model, made["table_version"])
    answers = await ask_many(serving, model, [f"{model}-{number}" for number in range(40)])
    for request_id in answers:
        await tell_label(serving, model, request_id, 0.0)
    await _counted(serving, model, "labels", len(answers))

    read = await shown(serving, f"{model}/experiments/labels")

    bold, control = read["arms"]
    assert (bold["mean"], control["mean"]) == (1.0, 0.0)
    assert bold["worse"]
    assert read["metric"]["goal"] == "minimize"


async def test_the_same_call_again_changes_nothing(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    made = await begun(serving, "PUT", f"{model}/experiments/once", HALVES)
    path = f"{model}/experiments/once"
    again = await call(serving, "PUT", path, {"author": "ada", **HALVES})
    other = await call(serving, "PUT", path, {"author": "ada", **HALVES, "alpha": 0.01})
    beside = await call(serving, "PUT", f"{model}/experiments/two", {"author": "ada", **HALVES})
    assert (again.status_code, again.json()["experiment_id"]) == (200, made["experiment_id"])
    assert (other.status_code, beside.status_code) == (409, 409)
    ended = await _conclude(serving, model, "once", winner="champion")
    assert await _conclude(serving, model, "once", winner="champion") == ended
    changed = await call(serving, "PUT", f"{path}/conclusion", {"author": "ada", "winner": "bold"})
    stopped = await call(serving, "DELETE", path, author="ada")
    assert (changed.status_code, stopped.status_code) == (409, 409)
    actions = [
        event.data.action
        for event in serving.events
        if isinstance(event.data, ExperimentChanged) and event.data.model == model
    ]
    assert actions.count("start") == 1


async def test_experiments_that_ended_are_kept(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    await begun(serving, "PUT", f"{model}/experiments/one", HALVES)
    gone = await call(
        serving, "DELETE", f"{model}/experiments/one", author="grace", reason="enough"
    )
    assert gone.status_code == 202, gone.text
    await begun(serving, "PUT", f"{model}/experiments/two", HALVES)
    listed = (await shown(serving, f"{model}/experiments"))["experiments"]
    assert [(each["name"], each["state"]) for each in listed] == [
        ("two", "running"),
        ("one", "stopped"),
    ]
    assert (listed[1]["ended_by"], listed[1]["outcome"]) == ("grace", "enough")
    stopped = await _told(serving, model, "stop")
    assert (stopped.experiment, stopped.author, stopped.reason) == ("one", "grace", "enough")


async def test_another_table_stops_an_experiment(serving: Serving, model: str) -> None:
    await with_candidate(serving, model)
    await begun(serving, "PUT", f"{model}/experiments/one", HALVES)
    set_ = await call(serving, "PUT", f"{model}/traffic", {"author": "ada"})
    assert set_.status_code == 202, set_.text
    stopped = await _told(serving, model, "stop")
    assert stopped.reason == "somebody set another table"


async def test_what_cannot_be_an_experiment_is_refused_by_name(
    serving: Serving, model: str
) -> None:
    await with_candidate(serving, model)
    arm = {"name": "bold", "version": 2, "percent": 50}
    for name, body, status, field in (
        ("e", {"arms": []}, 400, "arms"),
        ("e", {"arms": [{**arm, "percent": 0}]}, 400, "arms.0.percent"),
        ("e", {"arms": [{**arm, "percent": 100}]}, 400, "arms"),
        ("e", {"arms": [{**arm, "version": 1}]}, 400, "arms.0.version"),
        ("e", {"arms": [arm, arm]}, 400, "arms"),
        ("e", {"arms": [arm], "metric": {"low": 2, "high": 1}}, 400, "metric.high"),
        ("e", {"arms": [arm], "metric": {"kind": "luck"}}, 400, "metric.kind"),
        ("e e", {"arms": [arm]}, 400, "name"),
        ("e", {"arms": [{**arm, "version": 9}]}, 403, ""),
    ):
        answer = await call(
            serving, "PUT", f"{model}/experiments/{name}", {"author": "ada", **body}
        )
        assert answer.status_code == status, answer.text
        assert answer.json().get("field", "").startswith(field), answer.text
    assert (await call(serving, "GET", f"{model}/experiments/none")).status_code == 404
    await begun(serving, "PUT", f"{model}/experiments/e", HALVES)
    lost = await call(
        serving,
        "PUT",
        f"{model}/experiments/e/conclusion",
        {"author": "ada", "winner": "nobody"},
    )
    assert (lost.status_code, lost.json()["field"]) == (400, "winner")


async def _conclude(serving: Serving, model: str, name: str, *, winner: str) -> dict[str, Any]:
    answer = await call(
        serving,
        "PUT",
        f"{model}/experiments/{name}/conclusion",
        {"author": "ada", "winner": winner},
    )
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _counted(serving: Serving, model: str, name: str, outcomes: int) -> None:
    async def all_there() -> bool:
        read = await shown(serving, f"{model}/experiments/{name}")
        return sum(int(arm["outcomes"]) for arm in read["arms"]) == outcomes

    await until(all_there, seconds=30, what=f"{outcomes} outcomes counted")


async def _told(serving: Serving, model: str, action: str) -> ExperimentChanged:
    event = await serving.heard(
        ExperimentChanged, lambda data: data.model == model and data.action == action
    )
    return event.data
