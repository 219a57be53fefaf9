"""Registry and tracking as real processes on a real broker, and an unmodified `mlflow` client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
import structlog
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from deploy.local.testing import TestBucket, TestDatabase
from headrace.client import EventProducer
from headrace.events import LabelledDataWritten, Segment, topics
from headrace.ids import new_id
from headrace.runtime.bus import Event, Tail
from tests.harness.bus import skip_history, until
from tests.harness.receiver import Receiver, accept, free_port

ROOT = Path(__file__).parents[3]
API = "/api/registry/v1"
MLFLOW = "/api/2.0/mlflow"
NOWHERE = "http://127.0.0.1:9"
MORNING = datetime(2013, 2, 1, 6, tzinfo=UTC)


pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Backend:
    """What a process of this test needs to know."""

    database: TestDatabase
    bucket: TestBucket
    logs: Path

    def environment(self, service: str, port: int, **more: str) -> dict[str, str]:
        prefix = f"HEADRACE_{service.upper()}_"
        own = {
            "HTTP_PORT": str(port),
            "KAFKA": self.database.backends.kafka,
            "DATABASE_URL": self.database.url(service),
            "S3_ENDPOINT": self.bucket.endpoint,
            "S3_BUCKET": self.bucket.name,
            "S3_ACCESS_KEY": self.bucket.access_key,
            "S3_SECRET_KEY": self.bucket.secret_key,
            **more,
        }
        plain = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        path = f"{ROOT}{os.pathsep}{ROOT / 'shared'}"
        return {**plain, "PYTHONPATH": path, **{prefix + k: v for k, v in own.items()}}

    @asynccontextmanager
    async def running(self, service: str, port: int, **more: str) -> AsyncIterator[int]:
        """The process until the block ends; yields its id once it is ready."""
        with (self.logs / f"{service}-{new_id()}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"services.{service}",
                cwd=ROOT,
                env=self.environment(service, port, **more),
                stdout=log,
                stderr=log,
            )
        try:
            await until(lambda: _ready(port), seconds=60, what=f"{service} to be ready")
            yield process.pid
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
            await asyncio.wait_for(process.wait(), 30)


@pytest.fixture
def backend(database: TestDatabase, bucket: TestBucket, tmp_path: Path) -> Backend:
    return Backend(database=database, bucket=bucket, logs=tmp_path)


@pytest.fixture
def model() -> LogisticRegression:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(60, 2))
    return LogisticRegression().fit(rows, rows[:, 0] > 0)


async def test_a_logged_model_is_registered_verified_promoted_and_loaded(
    backend: Backend, model: LogisticRegression
) -> None:
    tracking, registry = free_port(), free_port()
    tracking_url, registry_url = (f"http://127.0.0.1:{port}" for port in (tracking, registry))
    for service in ("tracking", "registry"):
        await skip_history(
            database=backend.database, kafka=backend.database.backends.kafka, service=service
        )
    async with (
        backend.running("tracking", tracking),
        backend.running("registry", registry, TRACKING_URL=tracking_url),
        httpx.AsyncClient(base_url=registry_url) as http,
    ):
        run_id = await asyncio.to_thread(_log_and_register, model, tracking_url, registry_url)
        versions = (await http.get(f"{API}/models/flights/versions")).json()["versions"]
        assert [version["content"] for version in versions] == ["verified"] * 3
        assert len({version["digest"] for version in versions}) == 1
        assert {version["run_id"] for version in versions} == {run_id}
        first = (await http.get(f"{API}/models/flights/versions/1")).json()
        assert "MLmodel" in {file["path"] for file in first["files"]}
        asked = await http.post(
            f"{API}/models/flights/versions/1/promotion-requests", json={"requested_by": "test"}
        )
        assert asked.json()["outcome"] == "approved", asked.text
        await until(
            lambda: _finished(http, run_id), seconds=30, what="RunFinished to reach the lineage"
        )
        await asyncio.to_thread(_load_champion, tracking_url, registry_url)
        model_id = first["logged_model_id"]
        await until(
            lambda: _registered(tracking_url, model_id, versions=3),
            what="the logged model to name its versions",
        )
        named = await asyncio.to_thread(_versions_tag, tracking_url, model_id)
        assert {(one["name"], one["version"]) for one in named} == {
            ("flights", "1"),
            ("flights", "2"),
            ("flights", "3"),
        }


async def test_labelled_data_become_versions_exactly_once_though_the_registry_is_killed(
    backend: Backend, kafka: str
) -> None:
    port = free_port()
    dataset = f"flights-{new_id()}"
    seen: list[Event[Any]] = []

    async def remember(event: Event[Any]) -> None:
        # A relay that was killed after publishing publishes its batch again: the same events.
        known = {event.id for event in seen}
        if event.data.dataset == dataset and event.id not in known:
            seen.append(event)

    tail = Tail(
        kafka=kafka,
        topics=[topics.REGISTRY_DATASETS],
        on_event=remember,
        log=structlog.stdlib.get_logger(),
    )
    reading = asyncio.create_task(tail.run())
    await skip_history(database=backend.database, kafka=kafka, service="registry")
    correlation = new_id()
    sent = []
    async with EventProducer(kafka=kafka, source="/test") as producer:
        for place in range(40):
            sent.append(await producer.emit(written(dataset, place), correlation_id=correlation))
            if place in {5, 20}:
                async with backend.running("registry", port, TRACKING_URL=NOWHERE) as pid:
                    await until(lambda: len(seen) >= 3, what="the first versions")
                    os.kill(pid, signal.SIGKILL)
        async with backend.running("registry", port, TRACKING_URL=NOWHERE):
            await until(lambda: len(seen) >= 40, seconds=60, what="every version")
    reading.cancel()
    assert [event.data.version for event in seen] == list(range(1, 41))
    assert [event.envelope.causation_id for event in seen] == sent
    assert {event.correlation_id for event in seen} == {correlation}


async def test_a_webhook_is_told_though_the_registry_is_killed_before_and_while_it_tells(
    backend: Backend,
) -> None:
    port, receiver = free_port(), Receiver(port=free_port(), answer=lambda _: None)
    knobs = {
        "TRACKING_URL": NOWHERE,
        "WEBHOOK_NETWORKS": "127.0.0.0/8",
        "WEBHOOK_SECONDS": "2",
    }
    await skip_history(
        database=backend.database, kafka=backend.database.backends.kafka, service="registry"
    )
    async with receiver.running(), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        async with backend.running("registry", port, **knobs) as pid:
            await _hook(http, receiver.url)
            for place in range(20):
                await _create(http, f"model-{place}")
            await until(lambda: bool(receiver.messages), what="the first message to arrive")
            os.kill(pid, signal.SIGKILL)
        in_hand = receiver.messages[0].id
        receiver.answer = accept
        async with backend.running("registry", port, **knobs):
            await until(lambda: len(receiver.messages) >= 21, seconds=60, what="every message")
    again = receiver.messages[1:]
    assert [message.data["name"] for message in again] == [f"model-{i}" for i in range(20)]
    assert again[0].id == in_hand
    assert len({message.id for message in again}) == 20


async def _hook(http: httpx.AsyncClient, url: str) -> None:
    event = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
    made = await http.post(
        f"{MLFLOW}/webhooks", json={"name": "hook", "url": url, "events": [event]}
    )
    assert made.status_code == 200, made.text


async def _create(http: httpx.AsyncClient, name: str) -> None:
    made = await http.post(f"{MLFLOW}/registered-models/create", json={"name": name})
    assert made.status_code == 200, made.text


def written(dataset: str, place: int) -> LabelledDataWritten:
    begin = MORNING + timedelta(days=place)
    segment = Segment(
        uri=f"s3://headrace/labelled/{dataset}/{place}.parquet",
        digest=f"sha256:{place:064x}",
        size=10,
        rows=10,
        first_event_time=begin,
        last_event_time=begin,
        observed_through=begin,
    )
    return LabelledDataWritten(
        dataset=dataset, model="flights", segments=[segment], labelled_through=begin
    )


def _log_and_register(model: LogisticRegression, tracking_url: str, registry_url: str) -> str:
    mlflow.set_tracking_uri(tracking_url)
    mlflow.set_registry_uri(registry_url)
    with mlflow.start_run() as run:
        mlflow.log_metric("auc", 0.7)
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name="flights",
            pip_requirements=["scikit-learn"],  # inferring them loads the model once more
        )
    run_id = str(run.info.run_id)
    mlflow.register_model(f"runs:/{run_id}/model", "flights")
    client = MlflowClient(tracking_uri=tracking_url, registry_uri=registry_url)
    client.create_model_version("flights", f"runs:/{run_id}/model", run_id=run_id)
    assert logged.model_id
    prompt = mlflow.genai.register_prompt(name="delay", template="Is {{flight}} late?")
    client.link_prompt_version_to_run(run_id, prompt)
    linked = json.loads(client.get_run(run_id).data.tags["mlflow.linkedPrompts"])
    assert linked == [{"name": "delay", "version": "1"}]
    return run_id


def _load_champion(tracking_url: str, registry_url: str) -> None:
    mlflow.set_tracking_uri(tracking_url)
    mlflow.set_registry_uri(registry_url)
    loaded = mlflow.pyfunc.load_model("models:/flights@champion")
    assert loaded.predict(np.zeros((2, 2))).shape == (2,)


async def _registered(tracking_url: str, model_id: str, *, versions: int) -> bool:
    async with httpx.AsyncClient(base_url=tracking_url) as http:
        info = (await http.get(f"{MLFLOW}/logged-models/{model_id}")).json()["model"]["info"]
    expected = [{"name": "flights", "version": str(number + 1)} for number in range(versions)]
    return bool(info.get("registrations") == expected)


def _versions_tag(tracking_url: str, model_id: str) -> list[dict[str, str]]:
    found = MlflowClient(tracking_url).get_logged_model(model_id)
    versions: list[dict[str, str]] = json.loads(found.tags["mlflow.modelVersions"])
    return versions


async def _finished(http: httpx.AsyncClient, run_id: str) -> bool:
    seen = (await http.get(f"{API}/models/flights/versions/1/lineage")).json()["run"]
    assert seen["id"] == run_id
    return (seen.get("status"), seen.get("metrics")) == ("FINISHED", {"auc": 0.7})


async def _ready(port: int) -> bool:
    try:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False
