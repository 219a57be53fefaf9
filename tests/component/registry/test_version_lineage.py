"""From a version back to run, dataset, pipeline run, drift, promotion and deployment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from headrace.events import (
    DeploymentFailed,
    ModelDeployed,
    PipelineRunChanged,
    RunFinished,
    StepChanged,
)
from tests.component.registry.conftest import API, MLFLOW, Registry

NOW = datetime(2013, 3, 1, tzinfo=UTC)
DIGEST = f"sha256:{'a' * 64}"


async def registered(registry: Registry, run_id: str) -> int:
    """A version with the tags that the flights pipeline gives it."""
    dataset = await registry.dataset("flights-data")
    await registry.model("flights")
    version = await registry.version("flights")
    assert version == 1
    await registry.blobs.put("artifacts/3/model.onnx", b"x")
    tags = {
        "headrace.pipeline_run_id": "pipeline-7",
        "headrace.dataset": "flights-data",
        "headrace.dataset_version": str(dataset["version"]),
        "headrace.drift_epoch": "epoch-3",
        "headrace.drift_event_id": "drift-event-1",
    }
    made = await registry.call(
        "POST",
        f"{MLFLOW}/model-versions/create",
        {
            "name": "flights",
            "source": "mlflow-artifacts:/3",
            "run_id": run_id,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        },
        x_correlation_id="drift-event-1",
    )
    return int(made["model_version"]["version"])


async def lineage(registry: Registry, version: int) -> Any:
    return await registry.call("GET", f"{API}/models/flights/versions/{version}/lineage")


async def test_a_version_walks_back_to_the_drift_that_caused_it(registry: Registry) -> None:
    run = await registry.handle(
        RunFinished(
            run_id="run-5",
            experiment_id="1",
            status="FINISHED",
            finished_at=NOW,
            metrics={"auc": 0.7},
        )
    )
    changed = await registry.handle(
        PipelineRunChanged(
            pipeline_run_id="pipeline-7",
            pipeline="flights",
            state="running",
            model="flights",
            drift_epoch="epoch-3",
            parameters={"dataset": "flights-data", "dataset_version": 1},
            changed_at=NOW,
        ),
        correlation_id="drift-event-1",
    )
    await registry.handle(
        StepChanged(
            pipeline_run_id="pipeline-7",
            pipeline="flights",
            step="train",
            state="succeeded",
            attempt=1,
            seconds=3.5,
            changed_at=NOW,
        )
    )
    version = await registered(registry, "run-5")
    seen = await lineage(registry, version)
    assert seen["correlation_id"] == "drift-event-1"
    assert (seen["run"]["id"], seen["run"]["event_id"]) == ("run-5", run.id)
    assert seen["run"]["metrics"] == {"auc": 0.7}
    assert seen["dataset_version"]["dataset"] == "flights-data"
    assert seen["dataset_version"]["digest"].startswith("sha256:")
    assert seen["pipeline_run"]["event_id"] == changed.id
    assert seen["pipeline_run"]["steps"][0]["step"] == "train"
    assert (seen["drift"]["id"], seen["drift"]["event_id"]) == ("epoch-3", "drift-event-1")
    assert len(seen["graph"]["edges"]) >= 5


async def test_facts_may_come_after_the_version(registry: Registry) -> None:
    version = await registered(registry, "run-6")
    before = await lineage(registry, version)
    assert (before["run"]["id"], before["run"]["event_id"]) == ("run-6", None)
    told = await registry.handle(
        RunFinished(run_id="run-6", experiment_id="1", status="FINISHED", finished_at=NOW)
    )
    for state in ("running", "succeeded"):
        last = await registry.handle(
            PipelineRunChanged(
                pipeline_run_id="pipeline-7",
                pipeline="flights",
                state=state,
                parameters={"model": "flights"} if state == "running" else {},
                changed_at=NOW,
            )
        )
    after = await lineage(registry, version)
    assert after["run"]["event_id"] == told.id
    assert (after["pipeline_run"]["state"], after["pipeline_run"]["event_id"]) == (
        "succeeded",
        last.id,
    )


async def test_promotions_and_deployments_are_part_of_it(registry: Registry) -> None:
    version = await registered(registry, "run-7")
    made = await registry.promote("flights", version)
    deployed = await registry.handle(
        ModelDeployed(
            model="flights",
            version=version,
            digest=DIGEST,
            deployed_at=NOW,
            load_ms=12.0,
            swap_ms=0.3,
        )
    )
    failed = await registry.handle(
        DeploymentFailed(model="flights", version=version, reason="digest", failed_at=NOW)
    )
    await registry.handle(
        DeploymentFailed(model="unknown", version=9, reason="digest", failed_at=NOW)
    )
    seen = await lineage(registry, version)
    assert [one["request_id"] for one in seen["promotions"]] == [made["request_id"]]
    assert seen["promotions"][0]["promoted_event_id"]
    assert [(one["state"], one["event_id"]) for one in seen["deployments"]] == [
        ("deployed", deployed.id),
        ("failed", failed.id),
    ]
    assert seen["champion_history"][0]["version"] == version


async def test_a_version_without_a_history_says_so(registry: Registry) -> None:
    await registry.model("flights")
    version = await registry.version("flights")
    seen = await lineage(registry, version)
    assert seen["run"] is seen["dataset_version"] is seen["pipeline_run"] is seen["drift"] is None
    assert seen["deployments"] == seen["promotions"] == []


async def test_two_models_do_not_share_their_lineage(registry: Registry) -> None:
    version = await registered(registry, "run-8")
    await registry.model("buses")
    other = await registry.version("buses", tags={"headrace.pipeline_run_id": "pipeline-8"})
    await registry.handle(
        ModelDeployed(
            model="buses", version=other, digest=DIGEST, deployed_at=NOW, load_ms=1, swap_ms=1
        )
    )
    assert (await lineage(registry, version))["deployments"] == []
