"""The flights pipeline with the real registry, tracking, orchestrator and worker."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.local.stack import Stack
from examples.flights.features import CATEGORICAL, INPUTS, NUMERIC
from examples.flights.training import Rows, predict_onnx
from headrace.client.platform import Platform
from headrace.events import ModelVersionCreated, PromotionRequested
from headrace.events.topics import REGISTRY_MODELS
from headrace.profiles import TrainingProfile
from headrace.runtime.blobs import Blobs, digest_of
from headrace.runtime.bus import Event, Tail
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import until

MODEL = "late"
DATASET = f"{MODEL}-labelled"
BEGIN = datetime(2013, 1, 1, 6, tzinfo=UTC)
DAYS = 16
ROWS_A_DAY = 150


@dataclass(frozen=True, kw_only=True)
class Site:
    """A platform without serving and monitoring."""

    stack: Stack
    platform: Platform

    def blobs(self) -> Any:
        backends = self.stack.backends
        return Blobs.open(
            endpoint=backends.s3_endpoint,
            bucket=backends.s3_bucket,
            access_key=backends.s3_access_key,
            secret_key=backends.s3_secret_key,
        )

    async def dataset(self, *, seed: int) -> int:
        """A version of the dataset in two segments."""
        segments = []
        async with self.blobs() as blobs:
            for part in range(2):
                table = rows_of_days(part * DAYS // 2, DAYS // 2, seed=seed)
                buffer = io.BytesIO()
                pq.write_table(table, buffer)
                stored = await blobs.put(f"labelled/{seed}-{part}.parquet", buffer.getvalue())
                segments.append(segment_of(table, stored))
        made = self.platform.create_dataset_version(
            DATASET,
            segments=segments,
            labelled_through=segments[-1]["observed_through"],
            model=MODEL,
        )
        return int(made["version"])

    async def run(self, version: int) -> Any:
        parameters = {"model": MODEL, "dataset": DATASET, "dataset_version": version}
        started = self.platform.start_run("flights", parameters, requested_by="test", model=MODEL)
        run_id = started["pipeline_run_id"]
        await until(
            lambda: self.platform.run(run_id)["state"] not in ("pending", "running"),
            seconds=90,
            what="the run to end",
        )
        return self.platform.run(run_id)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    services = ["tracking", "registry", "orchestrator", "worker"]
    with Stack.temporary(services) as stack, Platform(url=stack.urls["front"]) as platform:
        yield Site(stack=stack, platform=platform)


async def test_two_retrainings_end_with_the_better_champion(site: Site) -> None:
    first = await site.run(await site.dataset(seed=1))
    assert first["state"] == "succeeded", first["error"]
    (promotion,) = first["promotions"]
    assert (promotion["outcome"], promotion["version"]) == ("approved", 1)
    second = await site.run(await site.dataset(seed=2))
    assert second["state"] == "succeeded", second["error"]
    evidence = second["steps"][3]["outputs"]["evidence"]["value"]
    assert evidence["champion_version"] == 1
    (pair,) = evidence["metrics"]
    better = pair["challenger"] <= pair["champion"]
    assert second["promotions"][0]["outcome"] == ("approved" if better else "rejected")
    champion = site.platform.champion(MODEL)
    assert champion is not None
    assert champion["version"] == (2 if better else 1)
    await _check_files(site, first, site.platform.model_version(MODEL, 1)["files"])
    told = await _told_of_models(site.stack.backends.kafka)
    for run, version in ((first, 1), (second, 2)):
        about = [event for event in told if event.data.version == version]
        expected: set[type[object]] = {ModelVersionCreated, PromotionRequested}
        assert {type(event.data) for event in about} > expected
        assert {event.correlation_id for event in about} == {run["correlation_id"]}


async def _told_of_models(kafka: str) -> list[Event[Any]]:
    """Everything the registry said of models so far."""
    heard: list[Event[Any]] = []

    async def hear(event: Event[Any]) -> None:
        heard.append(event)

    log = configure_logs(service="test", level="warning")
    tail = Tail(kafka=kafka, topics=[REGISTRY_MODELS], on_event=hear, log=log)
    task = asyncio.create_task(tail.run())
    await asyncio.wait_for(tail.caught_up.wait(), 20)
    task.cancel()
    await asyncio.wait({task})
    return heard


async def _check_files(site: Site, run: Any, files: Any) -> None:
    """The version holds the very bytes that were evaluated, its profile and its manifest."""
    outputs = {step["step"]: step["outputs"] for step in run["steps"]}
    by_name = {file["path"].rpartition("/")[2]: file for file in files}
    assert by_name["model.onnx"]["digest"] == outputs["convert"]["onnx"]["digest"]
    async with site.blobs() as blobs:
        onnx = await blobs.get_verified(
            by_name["model.onnx"]["uri"], by_name["model.onnx"]["digest"]
        )
        profile = await blobs.get(by_name["training-profile.bin"]["uri"])
        manifest = await blobs.get(run["manifest_uri"])
    answers = predict_onnx(onnx, Rows.from_table(rows_of_days(0, 1, seed=9)).columns)
    assert answers.shape == (ROWS_A_DAY,)
    assert len(TrainingProfile.from_bytes(profile).days) == DAYS
    document = json.loads(manifest)
    assert digest_of(manifest) == run["manifest_digest"]
    assert document["parameters"] == run["parameters"]
    assert [entry["dataset"] for entry in document["datasets"]] == [DATASET]
    assert document["environments"][0]["packages"]["scikit-learn"]
    assert set(document["step_seeds"]) == set(outputs)


def rows_of_days(first: int, days: int, *, seed: int) -> pa.Table:
    random = np.random.default_rng((seed, first))
    rows = days * ROWS_A_DAY
    hours = random.integers(0, 17, rows)
    begin = np.datetime64(BEGIN.replace(tzinfo=None), "us")
    day = first + np.arange(rows) // ROWS_A_DAY
    event_time = begin + day * np.timedelta64(1, "D") + hours * np.timedelta64(1, "h")
    late = random.random(rows) < 0.1 + 0.04 * hours
    columns: dict[str, Any] = {
        name: random.choice(["AA", "BB", "CC"], rows) for name in CATEGORICAL
    }
    columns |= {name: random.normal(size=rows).astype(np.float32) for name in NUMERIC}
    columns["hour"] = hours.astype(np.float32)
    stamp = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            **{name: columns[name] for name in INPUTS},
            "prediction_id": [f"{seed}/{first}/{row}" for row in range(rows)],
            "event_time": pa.array(event_time, pa.timestamp("us")).cast(stamp),
            "observed_at": pa.array(event_time, pa.timestamp("us")).cast(stamp),
            "label": late.astype(np.float64),
        }
    )


def segment_of(table: pa.Table, stored: Any) -> dict[str, Any]:
    times = table["event_time"].to_pylist()
    return {
        "uri": stored.uri,
        "digest": stored.digest,
        "size": stored.size,
        "rows": table.num_rows,
        "first_event_time": min(times).isoformat(),
        "last_event_time": max(times).isoformat(),
        "observed_through": (max(times) + timedelta(hours=1)).isoformat(),
    }
