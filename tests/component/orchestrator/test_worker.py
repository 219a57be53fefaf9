"""Pipelines on a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.ids import new_id
from headrace.runtime.blobs import Blobs, digest_of
from tests.harness.bus import until
from tests.harness.orchestrator import CHECKOUT, Orchestrator, Worker


async def test_a_pipeline_runs_on_a_worker_and_leaves_its_artifacts(
    orchestrator: Orchestrator, working: Worker, blobs: Blobs
) -> None:
    run = await orchestrator.finished(await orchestrator.start("sum", rows=500, name="ratio"))
    assert run["state"] == "succeeded", working.text
    output = run["steps"][-1]["outputs"]["result"]
    assert await blobs.get_verified(output["uri"], output["digest"]) == b"ratio: 2.0"
    manifest = await blobs.get(run["manifest_uri"])
    assert digest_of(manifest) == run["manifest_digest"]


@pytest.mark.usefixtures("working")
async def test_a_failing_step_is_tried_again_by_its_retry_rule(orchestrator: Orchestrator) -> None:
    error, crash, refused = [
        await orchestrator.start("flaky", fail_until=3, how=how)
        for how in ("error", "crash", "refused")
    ]
    run = await orchestrator.finished(error)
    assert (run["state"], run["steps"][1]["outputs"]["result"]["value"]) == ("succeeded", 3)
    run = await orchestrator.finished(crash)
    assert run["state"] == "succeeded"
    assert run["attempts"][0]["error"] == "its process died: killed by SIGKILL"
    run = await orchestrator.finished(refused)
    assert (run["state"], run["steps"][0]["attempt"]) == ("failed", 1)
    assert run["error"] == "step flaky: Refused: this never works"


@pytest.mark.usefixtures("working")
async def test_a_step_that_takes_too_long_is_killed(orchestrator: Orchestrator) -> None:
    run = await orchestrator.finished(await orchestrator.start("too-slow"), seconds=15)
    assert run["error"] == "step too_slow: timed out after 0.3 s"


async def test_a_step_cannot_open_what_it_was_not_given(
    orchestrator: Orchestrator, working: Worker
) -> None:
    """Such as the demo's raw data, which lies inside the checkout."""
    raw = CHECKOUT / ".cache" / "flights"
    raw.mkdir(parents=True, exist_ok=True)
    secret = raw / f"{new_id()}.probe"
    secret.write_text("raw data")
    try:
        run = await orchestrator.finished(await orchestrator.start("looking", path=str(secret)))
    finally:
        content = secret.read_text()
        secret.unlink()
    assert run["state"] == "succeeded", run["error"]
    found = run["steps"][0]["outputs"]["result"]["value"]
    assert "landlock abi" in working.text
    allowed = sorted(way for way, outcome in found.items() if outcome == "allowed")
    assert allowed == ["scratch"], found
    assert content == "raw data"


@pytest.mark.parametrize("how", ["symlink", "absolute"])
async def test_a_step_cannot_make_its_worker_take_another_file(
    orchestrator: Orchestrator, working: Worker, tmp_path: Path, how: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o640)
    run_id = await orchestrator.start("forging", target=str(secret), how=how)
    run = await orchestrator.finished(run_id)
    assert run["error"].startswith("step forge: Refused: output result: "), working.text
    assert run["steps"][0]["attempt"] == 1
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("secret", 0o640)


async def test_a_cancelled_run_s_step_is_killed_and_its_scratch_removed(
    orchestrator: Orchestrator, working: Worker
) -> None:
    run_id = await orchestrator.start("waiting", path=str(working.readable / "gate"))
    await orchestrator.until_step(run_id, "wait_for", "running")
    await orchestrator.call("POST", f"/runs/{run_id}/cancel")
    await until(lambda: "step_stopped" in working.text, what="the step to be stopped")
    steps = list((working.directory / "scratch").glob("*/steps/*"))
    await until(lambda: not any(step.exists() for step in steps), what="the scratch to go")
