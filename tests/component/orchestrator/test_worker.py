"""Pipelines on real workers."""

from __future__ import annotations

from headrace.runtime.blobs import Blobs, digest_of
from tests.component.orchestrator.conftest import Orchestrator, Workers
from tests.harness.bus import until


async def registered(orchestrator: Orchestrator, name: str = "sum") -> None:
    async def there() -> bool:
        found = await orchestrator.call("GET", "/pipelines")
        return any(entry["name"] == name for entry in found["pipelines"])

    await until(there, seconds=60, what=f"pipeline {name} to be registered")


async def test_a_pipeline_runs_on_a_worker_and_leaves_its_artifacts(
    orchestrator: Orchestrator, workers: Workers, blobs: Blobs
) -> None:
    worker = workers.start()
    await registered(orchestrator)
    run = await orchestrator.finished(await orchestrator.start("sum", rows=500, name="ratio"))
    assert run["state"] == "succeeded", worker.text
    output = run["steps"][-1]["outputs"]["result"]
    assert await blobs.get_verified(output["uri"], output["digest"]) == b"ratio: 2.0"
    manifest = await blobs.get(run["manifest_uri"])
    assert digest_of(manifest) == run["manifest_digest"]
