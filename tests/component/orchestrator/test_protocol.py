"""The worker protocol: who may run a step, and whose result counts."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.ids import new_id
from tests.harness.orchestrator import PLAN_NAME, Ear, FakeWorker, Orchestrator


async def finish(worker: FakeWorker, *, wait_seconds: float = 5.0) -> Any:
    assignment = await worker.claim(wait_seconds=wait_seconds)
    assert (await worker.complete(assignment)).status_code == 200
    return assignment


async def test_a_worker_must_say_hello(orchestrator: Orchestrator) -> None:
    stranger = FakeWorker(orchestrator=orchestrator, name="stranger")
    body = {"worker": "stranger", "session": "x", "pipelines": [PLAN_NAME]}
    response = await orchestrator.answer("POST", "/worker/claim", body)
    assert response.status_code == 404
    await stranger.hello()
    assert await stranger.claim() is None


async def test_steps_run_in_order_and_outputs_travel(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    run_id = await orchestrator.start(PLAN_NAME, n=7)
    first = await finish(worker)
    assert first["step"] == "first"
    assert first["inputs"] == {"n": {"kind": "json", "value": 7}}
    second = await finish(worker)
    assert second["step"] == "second"
    assert second["inputs"] == {"x": {"kind": "json", "value": 1}}
    run = await orchestrator.run(run_id)
    assert run["state"] == "succeeded"
    assert [entry["outcome"] for entry in run["attempts"]] == ["succeeded", "succeeded"]


async def test_a_step_is_handed_to_one_worker_only(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    others = [FakeWorker(orchestrator=orchestrator, name=f"other-{n}") for n in range(8)]
    await asyncio.gather(*(other.hello() for other in others))
    runs = {await orchestrator.start(PLAN_NAME) for _ in range(3)}
    claimed = await asyncio.gather(*(one.claim(wait_seconds=2.0) for one in [worker, *others]))
    handed = [assignment for assignment in claimed if assignment is not None]
    assert sorted(one["run"]["run_id"] for one in handed) == sorted(runs)
    assert len({one["fence"] for one in handed}) == 3


async def test_a_repeated_completion_is_accepted_and_changes_nothing(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    run_id = await orchestrator.start(PLAN_NAME)
    assignment = await finish(worker)
    again = {"result": {"kind": "json", "value": 99}}
    assert (await worker.complete(assignment, outputs=again)).status_code == 200
    steps = (await orchestrator.run(run_id))["steps"]
    assert steps[0]["outputs"] == {"result": {"kind": "json", "value": 1}}
    contradicting = await worker.complete(assignment, outcome="failed", error="x")
    assert contradicting.status_code == 409


async def test_a_lost_lease_is_given_to_another_and_the_zombie_is_refused(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    run_id = await orchestrator.start(PLAN_NAME)
    zombie = await worker.claim(wait_seconds=5)
    other = FakeWorker(orchestrator=orchestrator, name="other")
    await other.hello()
    taken = await other.claim(wait_seconds=15)
    assert taken["step"] == zombie["step"]
    assert taken["fence"] > zombie["fence"]
    assert taken["attempt"] == 2
    refused = await worker.complete(zombie)
    assert refused.status_code == 409
    assert "stale fence" in refused.json()["message"]
    assert await worker.beat(zombie) == []
    assert (await other.complete(taken)).status_code == 200
    outcomes = [entry["outcome"] for entry in (await orchestrator.run(run_id))["attempts"]]
    assert outcomes == ["lost", "succeeded"]


async def test_a_heartbeat_keeps_the_lease(orchestrator: Orchestrator, worker: FakeWorker) -> None:
    await orchestrator.start(PLAN_NAME)
    assignment = await worker.claim(wait_seconds=5)
    lease = await orchestrator.pool.fetchval("select lease_until from task where state='running'")
    assert await worker.beat(assignment) == [assignment["fence"]]
    renewed = await orchestrator.pool.fetchval("select lease_until from task where state='running'")
    assert renewed > lease


async def test_a_restarted_worker_gives_its_steps_back_at_once(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    await orchestrator.start(PLAN_NAME)
    held = await worker.claim(wait_seconds=5)
    reborn = FakeWorker(orchestrator=orchestrator, name=worker.name)
    await reborn.hello()
    again = await reborn.claim()
    assert again["step"] == held["step"]
    assert (await worker.complete(held)).status_code == 409
    body = {"worker": worker.name, "session": worker.session, "pipelines": [PLAN_NAME]}
    replaced = await orchestrator.answer("POST", "/worker/claim", body)
    assert replaced.status_code == 409
    assert "was replaced" in replaced.json()["message"]


async def test_a_failure_is_retried_then_fails_the_run(
    orchestrator: Orchestrator, worker: FakeWorker, ear: Ear
) -> None:
    run_id = await orchestrator.start(PLAN_NAME)
    for _ in range(2):
        assignment = await worker.claim(wait_seconds=5)
        assert (await worker.complete(assignment, outcome="failed", error="boom")).is_success
    run = await orchestrator.run(run_id)
    assert run["state"] == "failed"
    assert run["error"] == "step first: boom"
    assert [entry["state"] for entry in run["steps"]] == ["failed", "skipped"]
    events = await ear.until_ended(run_id)
    states = [(getattr(event.data, "step", None), event.data.state) for event in events]
    assert states == [
        (None, "pending"),
        (None, "running"),
        ("first", "running"),
        ("first", "ready"),
        ("first", "running"),
        ("first", "failed"),
        ("second", "skipped"),
        (None, "failed"),
    ]


async def test_events_of_a_run_are_a_chain_under_one_correlation(
    orchestrator: Orchestrator, worker: FakeWorker, ear: Ear
) -> None:
    run_id = new_id()
    body = {"pipeline": PLAN_NAME, "requested_by": "test", "pipeline_run_id": run_id}
    await orchestrator.call(
        "POST", "/runs", body, x_correlation_id="turn-1", x_causation_id="cause-1"
    )
    first = await finish(worker)
    await finish(worker)
    events = await ear.until_ended(run_id)
    assert {event.correlation_id for event in events} == {"turn-1"}
    causes = [event.envelope.causation_id for event in events]
    assert causes == ["cause-1", *(event.id for event in events[:-1])]
    running = next(event for event in events if getattr(event.data, "step", "") == "first")
    assert first["causation_id"] == running.id
    assert first["correlation_id"] == "turn-1"


async def test_a_completion_without_its_outputs_fails_the_step(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    run_id = await orchestrator.start(PLAN_NAME)
    assignment = await worker.claim(wait_seconds=5)
    assert (await worker.complete(assignment, outputs={})).is_success
    run = await orchestrator.run(run_id)
    assert run["error"] == "step first: the completion lacks the outputs result"


async def test_a_released_step_runs_again_and_nothing_is_counted(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    run_id = await orchestrator.start(PLAN_NAME)
    for _ in range(10):
        assignment = await worker.claim(wait_seconds=5)
        assert (await worker.complete(assignment, outcome="released")).is_success
    step = (await orchestrator.run(run_id))["steps"][0]
    assert (step["state"], step["failures"], step["losses"]) == ("ready", 0, 0)


async def test_a_cancelled_run_fences_what_runs(
    orchestrator: Orchestrator, worker: FakeWorker
) -> None:
    run_id = await orchestrator.start(PLAN_NAME)
    assignment = await worker.claim(wait_seconds=5)
    cancelled = await orchestrator.call("POST", f"/runs/{run_id}/cancel")
    assert cancelled["cancelled"] is True
    assert await worker.beat(assignment) == []
    assert (await worker.complete(assignment)).status_code == 409
    assert (await orchestrator.run(run_id))["state"] == "cancelled"
    assert (await orchestrator.call("POST", f"/runs/{run_id}/cancel"))["cancelled"] is False
