"""Workers that are killed, stopped, or given something else than they asked for."""

from __future__ import annotations

import asyncio

import psutil

from headrace.runtime.blobs import Blobs
from tests.harness.bus import until
from tests.harness.orchestrator import Orchestrator, Workers


async def test_a_killed_worker_s_step_runs_again_elsewhere(
    orchestrator: Orchestrator, workers: Workers
) -> None:
    first = await workers.ready(instance=0)
    gate = workers.readable / "gate"
    run_id = await orchestrator.start("waiting", path=str(gate))
    before = await orchestrator.until_step(run_id, "wait_for", "running")
    await workers.ready(instance=1)
    await asyncio.to_thread(first.kill)

    async def elsewhere() -> bool:
        found = (await orchestrator.run(run_id))["steps"][0]
        return bool(found["state"] == "running" and found["worker"] != before["worker"])

    await until(elsewhere, seconds=10, what="the step to run elsewhere")
    gate.write_text("open")
    run = await orchestrator.finished(run_id)
    assert run["steps"][0]["outputs"]["result"]["value"] == "open"
    assert [entry["outcome"] for entry in run["attempts"]] == ["lost", "succeeded"]


async def test_a_stopped_worker_gives_its_step_back(
    orchestrator: Orchestrator, workers: Workers
) -> None:
    worker = await workers.ready()
    run_id = await orchestrator.start("waiting", path=str(workers.readable / "gate"))
    await orchestrator.until_step(run_id, "wait_for", "running")
    await asyncio.to_thread(worker.stop)
    step = (await orchestrator.run(run_id))["steps"][0]
    assert (step["state"], step["losses"]) == ("ready", 0), worker.text


async def test_a_damaged_artifact_is_refused(
    orchestrator: Orchestrator, workers: Workers, blobs: Blobs
) -> None:
    worker = await workers.ready(CACHE_BYTES="0")
    gate = workers.readable / "gate"
    run_id = await orchestrator.start("damaged", path=str(gate))
    made = await orchestrator.until_step(run_id, "make", "succeeded")
    await orchestrator.until_step(run_id, "wait_for", "running")
    await blobs.put(made["outputs"]["table"]["uri"].split("/", 3)[3], b"something else")
    gate.write_text("open")
    run = await orchestrator.finished(run_id)
    assert run["state"] == "failed", worker.text
    assert f"expected digest {made['outputs']['table']['digest']}" in run["error"]


async def test_a_killed_zygote_is_started_again_and_its_step_runs_anew(
    orchestrator: Orchestrator, workers: Workers
) -> None:
    worker = await workers.ready()
    gate = workers.readable / "gate"
    run_id = await orchestrator.start("waiting", path=str(gate))
    await orchestrator.until_step(run_id, "wait_for", "running")
    (zygote,) = psutil.Process(worker.process.pid).children()
    children = zygote.children()
    zygote.kill()
    await until(lambda: not any(child.is_running() for child in children), what="its child to end")
    await until(lambda: worker.text.count("ready_for_steps") == 2, seconds=60, what="a new zygote")
    gate.write_text("open")
    run = await orchestrator.finished(run_id)
    assert run["state"] == "succeeded", worker.text
    assert run["attempts"][0]["error"] == "its process died: the process that started it died"
