"""The learner process as it runs, a registry beside it, and a stream for it to learn from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
from numpy.typing import NDArray

from deploy.local import Backends
from headrace.client.platform import Platform
from headrace.events import FileRef, LabelObserved, PredictionLogged
from headrace.learning import Plan, State
from headrace.learning.estimator import Estimator
from headrace.rpc.serving.v1.prediction_log_pb2 import Tensor
from tests.harness.bus import skip_history, until
from tests.harness.serving_processes import Process, Serving, free_ports, running

FEATURES = ("x[0]", "x[1]", "x[2]")
PLAN = Plan(kind="logistic_regression", features=FEATURES, learning_rate=0.1)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prediction with its label, as the stream tells of it."""

    prediction_id: str
    row: NDArray[np.float32]
    label: float


def examples(count: int, *, seed: int = 0) -> list[Example]:
    """Rows that a line parts, with some noise."""
    random = np.random.default_rng(seed)
    rows = random.normal(2.0, 3.0, (count, 3)).astype(np.float32)
    labels = (rows @ np.array([1.0, -2.0, 0.5]) + random.normal(0, 1, count) > 1).astype(float)
    run = uuid4().hex[:8]
    return [
        Example(prediction_id=f"{run}-{place}/0", row=row, label=float(label))
        for place, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]


def learned(given: Sequence[Example], plan: Plan = PLAN) -> State:
    """What a learner knows that nothing ever happened to."""
    estimator = Estimator(plan, State.fresh(plan))
    for each in given:
        estimator.learn(each.row.tolist(), each.label)
    return estimator.state


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Serving with a learner process, and the registry that it publishes to."""

    serving: Serving
    learner: Process
    registry: Process
    platform: Platform

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask the control process about learners."""
        async with httpx.AsyncClient(timeout=20) as http:
            url = f"{self.serving.control.url}/api/serving/v1/learners{path}"
            return await http.request(method, url, json=body)

    async def begin(self, name: str, model: str, **more: Any) -> None:
        """A learner of PLAN, unless told otherwise."""
        body = {
            "model": model,
            "estimator": {"kind": "logistic_regression", "learning_rate": 0.1},
            "features": list(FEATURES),
            "author": "ada",
            **more,
        }
        answer = await self.call("PUT", f"/{name}", body)
        assert answer.status_code == 200, answer.text

    async def known(self, name: str) -> dict[str, Any]:
        """What is told of a learner."""
        document: dict[str, Any] = (await self.call("GET", f"/{name}")).json()
        return document

    async def snapshots(self, name: str) -> list[dict[str, Any]]:
        """Its snapshots, oldest first."""
        found: list[dict[str, Any]] = (await self.call("GET", f"/{name}/snapshots")).json()[
            "snapshots"
        ]
        return found[::-1]

    async def has(self, name: str, *, seconds: float = 60, **wanted: int) -> dict[str, Any]:
        """Wait until these counts of a learner are reached."""
        last: dict[str, Any] = {}

        async def reached() -> bool:
            last.update(await self.known(name))
            return all(last[key] >= count for key, count in wanted.items())

        try:
            await until(reached, seconds=seconds, what=f"{name} with {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{last}\n{self.learner.log.read_text()[-3000:]}") from error
        return last

    def restart(self, *, crash_at: str | None = None) -> None:
        """Kill the learner process and start another, which dies of itself at that point."""
        self.learner.kill()
        self.learner.env = {**self.learner.env, "HEADRACE_CRASH_AT": crash_at or ""}
        self.learner.start()

    async def dead_or_learned(self, name: str, count: int) -> None:
        """Wait until the process died, or has learned from so many labels."""

        async def reached() -> bool:
            return self.learner.ended or (await self.known(name))["learned"] >= count

        try:
            await until(reached, seconds=90, what=f"{count} learned, or a death")
        except AssertionError as error:
            raise AssertionError(self.learner.log.read_text()[-3000:]) from error

    async def published(
        self, name: str, count: int, *, seconds: float = 60
    ) -> list[dict[str, Any]]:
        """Wait until so many snapshots are versions."""

        async def reached() -> bool:
            found = await self.snapshots(name)
            return sum(each["version"] is not None for each in found) >= count

        try:
            await until(reached, seconds=seconds, what=f"{count} versions")
        except AssertionError as error:
            raise AssertionError(self.learner.log.read_text()[-3000:]) from error
        return await self.snapshots(name)

    async def metric(self, name: str, value: float) -> None:
        """Wait until the learner process shows this value."""

        async def shown() -> bool:
            async with httpx.AsyncClient() as http:
                text = (await http.get(f"{self.learner.url}/metrics")).text
            return f"{name} {value}" in text.splitlines()

        await until(shown, what=f"{name} {value}")

    async def failure(self, name: str) -> str:
        """Why a learner stands still, waited for."""

        async def failed() -> bool:
            return (await self.known(name))["failure"] is not None

        await until(failed, seconds=60, what=f"{name} fails")
        return str((await self.known(name))["failure"])

    async def log(self, model: str, given: Sequence[Example]) -> None:
        """Predictions as serving logs them, in one micro-batch."""
        await self.serving.publisher.emit(self.logged(model, given))

    def logged(self, model: str, given: Sequence[Example]) -> PredictionLogged:
        """A micro-batch of predictions."""
        now = int(datetime.now(UTC).timestamp() * 1_000_000)
        data = np.stack([each.row for each in given]).tobytes()
        return PredictionLogged(
            project=self.serving.project,
            model=model,
            version=1,
            prediction_ids=[each.prediction_id for each in given],
            event_times_us=[now] * len(given),
            inputs=[Tensor(name="x", datatype="FP32", shape=[len(given), 3], data=data)],
            logged_at_us=now,
        )

    async def label(self, model: str, given: Sequence[Example]) -> None:
        """Their labels, in this order."""
        await self.serving.publisher.emit_many([self.labelled(model, each) for each in given])

    def labelled(
        self, model: str, each: Example, *, features: dict[str, float] | None = None
    ) -> LabelObserved:
        """One label."""
        return LabelObserved(
            features=features,
            project=self.serving.project,
            model=model,
            prediction_id=each.prediction_id,
            label=each.label,
            observed_at=datetime.now(UTC),
        )

    async def files(self, model: str, version: int) -> list[FileRef]:
        """The files of a version as the registry has them."""
        found = await asyncio.to_thread(self.platform.model_version, model, version)
        return [FileRef.model_validate(file) for file in found["files"]]

    async def download(self, model: str, version: int, folder: Path) -> Path:
        """A version's files in a folder."""
        for file in await self.files(model, version):
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(await self.serving.blobs.get_verified(file.uri, file.digest))
        return folder


@asynccontextmanager
async def registry_process(serving: Serving, backends: Backends) -> AsyncIterator[Process]:
    """A registry of serving's project and bucket, ready."""
    await skip_history(database=serving.database, kafka=backends.kafka, service="registry")
    (port,) = free_ports(1)
    shared = ("PROJECT", "KAFKA", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET")
    own = {
        "HTTP_PORT": str(port),
        "DATABASE_URL": serving.database.url("registry"),
        "TRACKING_URL": "http://127.0.0.1:9",
        **{name: serving.control.env[f"HEADRACE_SERVING_{name}"] for name in shared},
    }
    process = Process(
        module="services.registry",
        arguments=[],
        env=serving.control.env | {f"HEADRACE_REGISTRY_{name}": text for name, text in own.items()},
        url=f"http://127.0.0.1:{port}",
        log=serving.control.log.with_name(f"registry-{uuid4().hex[:6]}.log"),
    )
    async with running(process) as ready:
        yield ready


@asynccontextmanager
async def learning_processes(serving: Serving, registry: Process) -> AsyncIterator[Learning]:
    """The learner process, ready."""
    (port,) = free_ports(1)
    own = {"LEARNER_HTTP_PORT": str(port), "LEARNER_REGISTRY_URL": registry.url}
    process = Process(
        arguments=["learner"],
        env=serving.control.env | {f"HEADRACE_SERVING_{name}": text for name, text in own.items()},
        url=f"http://127.0.0.1:{port}",
        log=serving.control.log.with_name(f"learner-{uuid4().hex[:6]}.log"),
    )
    process.start()
    try:
        await process.wait_ready()
        with Platform(url=registry.url) as platform:
            yield Learning(serving=serving, learner=process, registry=registry, platform=platform)
    finally:
        process.stop()
