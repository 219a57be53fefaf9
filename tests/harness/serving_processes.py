"""Serving as it runs: a control process and a worker, on real backends, to be killed at will."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import httpx
import numpy as np
import tritonclient.grpc.aio as triton

from deploy.local import Backends, provision
from deploy.local.testing import TestDatabase
from headrace.events import (
    DeploymentState,
    FileRef,
    ModelAliasState,
    ModelPromoted,
    ModelVersionConverted,
    ModelVersionCreated,
    PromotionDecided,
    PromotionRequested,
)
from headrace.events.contracts import Data
from headrace.events.topics import (
    SERVING_DEPLOYMENTS,
    SERVING_LOG,
    SERVING_SHADOWS,
    SERVING_STATE,
    SERVING_TRAFFIC,
    SERVING_TRAFFIC_STATE,
    Topic,
)
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import Event, Publisher, Tail, Tombstone
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import skip_history, until

CHECKOUT = Path(__file__).parents[2]
DataT = TypeVar("DataT", bound=Data)
_PATIENCE = 60.0
QUIET_TOPICS = (
    SERVING_DEPLOYMENTS,
    SERVING_STATE,
    SERVING_TRAFFIC,
    SERVING_TRAFFIC_STATE,
    SERVING_SHADOWS,
)
"""Of what serving emits, all but the predictions."""


class Process:
    """One process of serving, or of another service; `arguments` is [] or ["worker"]."""

    def __init__(
        self,
        *,
        arguments: list[str],
        env: dict[str, str],
        url: str,
        log: Path,
        module: str = "services.serving",
    ) -> None:
        self._module = module
        self._arguments = arguments
        self.env = env
        self.url = url
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; `wait_ready` says when it is of use."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, *self._arguments],
                cwd=CHECKOUT,
                env=self.env,
                stdout=log,
                stderr=log,
            )

    async def wait_ready(self) -> None:
        """Until /readyz says 200. Raises AssertionError with the log when it does not come."""
        try:
            await until(self.is_ready, seconds=_PATIENCE, what=f"{self.url} ready")
        except AssertionError as error:
            raise AssertionError(self.log.read_text()[-4000:]) from error

    async def is_ready(self) -> bool:
        """Whether it says so now."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-4000:]
        try:
            async with httpx.AsyncClient() as http:
                return (await http.get(f"{self.url}/readyz", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is no longer there, of itself."""
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end; returns its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(20)


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    """A process while it runs, ready."""
    process.start()
    try:
        await process.wait_ready()
        yield process
    finally:
        process.stop()


@dataclass(kw_only=True)
class Serving:
    """Both processes, the registry's side of the bus, and everything that serving emitted."""

    project: str
    database: TestDatabase
    control: Process
    worker: Process
    grpc: str
    blobs: Blobs
    publisher: Publisher
    events: list[Event[Any]] = field(default_factory=list)
    states: dict[str, DeploymentState] = field(default_factory=dict)
    stateless: set[str] = field(default_factory=set)

    def use(self, database: TestDatabase) -> None:
        """Have the control process start on another database from now on."""
        self.database = database
        url = database.url("serving")
        self.control.env = self.control.env | {"HEADRACE_SERVING_DATABASE_URL": url}

    async def upload(
        self, onnx: bytes, *, digest: str | None = None, folder: str = ""
    ) -> list[FileRef]:
        """A version's files in S3; `digest` is what the registry is made to say of the model."""
        where = f"artifacts/{uuid4().hex}"
        files = []
        for name, data in ((f"{folder}model.onnx", onnx), ("profile.json", b"{}")):
            ref = await self.blobs.put(f"{where}/{name}", data)
            said = digest if digest and name.endswith("model.onnx") else ref.digest
            files.append(FileRef(path=name, uri=ref.uri, digest=said, size=ref.size))
        return files

    async def upload_folder(self, folder: Path) -> list[FileRef]:
        """A version that is a folder, as `mlflow` logs it."""
        where = f"artifacts/{uuid4().hex}"
        files = []
        for name, content in _contents(folder):
            ref = await self.blobs.put(f"{where}/{name}", content)
            files.append(FileRef(path=name, uri=ref.uri, digest=ref.digest, size=ref.size))
        return files

    async def request(self, model: str, version: int, files: list[FileRef]) -> str:
        """PromotionRequested, as the registry emits it; returns its correlation id."""
        turn = f"turn-{uuid4().hex}"
        await self.publisher.emit(
            PromotionRequested(
                project=self.project,
                request_id=turn,
                model=model,
                version=version,
                requested_by="test",
                digest="sha256:" + "0" * 64,
                files=files,
            ),
            correlation_id=turn,
        )
        return turn

    async def create(self, model: str, version: int, files: list[FileRef]) -> None:
        """ModelVersionCreated, as the registry emits it."""
        created = ModelVersionCreated(
            project=self.project,
            model=model,
            version=version,
            source="test",
            digest="sha256:" + "0" * 64,
            files=files,
        )
        await self.publisher.emit(created, correlation_id=f"turn-{uuid4().hex}")

    async def converted(
        self, model: str, version: int, files: list[FileRef], converted: list[FileRef]
    ) -> None:
        """ModelVersionConverted, as the registry emits it when a conversion is attached."""
        told = ModelVersionConverted(
            project=self.project,
            model=model,
            version=version,
            digest="sha256:" + "0" * 64,
            files=files,
            converted=converted,
        )
        await self.publisher.emit(told, correlation_id=f"turn-{uuid4().hex}")

    async def point(self, model: str, alias: str, version: int, files: list[FileRef]) -> None:
        """An alias is set, as the registry tells of it."""
        state = ModelAliasState(
            project=self.project,
            model=model,
            alias=alias,
            version=version,
            cause="set",
            digest="sha256:" + "0" * 64,
            files=files,
            moved_at=datetime.now(UTC),
        )
        await self.publisher.emit(state, correlation_id=f"turn-{uuid4().hex}")

    async def reject(self, model: str, version: int, turn: str) -> None:
        """PromotionDecided with a no."""
        await self.publisher.emit(
            PromotionDecided(
                project=self.project,
                request_id=turn,
                model=model,
                version=version,
                outcome="rejected",
                automatic=True,
            ),
            correlation_id=turn,
        )

    async def promote(
        self,
        model: str,
        version: int,
        files: list[FileRef],
        *,
        turn: str | None = None,
        alias: str = "champion",
        project: str | None = None,
        converted: Sequence[FileRef] = (),
    ) -> tuple[str, str]:
        """A promotion as the registry tells of it; returns event id and correlation id."""
        turn = turn or f"turn-{uuid4().hex}"
        promoted = ModelPromoted(
            project=project or self.project,
            model=model,
            version=version,
            alias=alias,
            cause="promotion",
            digest="sha256:" + "0" * 64,
            files=files,
            converted=list(converted),
            promoted_at=datetime.now(UTC),
        )
        event = await self.publisher.emit(promoted, correlation_id=turn)
        state = ModelAliasState(
            **promoted.model_dump(exclude={"promoted_at"}),
            moved_at=promoted.promoted_at,
            promoted_event=event,
        )
        await self.publisher.emit(state, correlation_id=turn, causation_id=event)
        return event, turn

    async def deploy(self, model: str, version: int, onnx: bytes) -> list[FileRef]:
        """Promote and wait until it answers."""
        files = await self.upload(onnx)
        await self.promote(model, version, files)
        await until(
            lambda: self.is_champion(model, version),
            seconds=_PATIENCE,
            what=f"{model} v{version} answers",
        )
        return files

    async def is_champion(self, model: str, version: int) -> bool:
        """Whether the worker says that this version answers by default."""
        async with httpx.AsyncClient() as http:
            status = (await http.get(f"{self.worker.url}/api/serving/v1/worker")).json()
        return any(
            entry["name"] == model and entry["champion"] == version for entry in status["models"]
        )

    async def heard(self, kind: type[DataT], matches: Callable[[DataT], bool]) -> Event[DataT]:
        """The first event of a type that matches, waited for."""

        def found() -> list[Event[Any]]:
            return [
                event
                for event in self.events
                if isinstance(event.data, kind) and matches(event.data)
            ]

        await until(lambda: bool(found()), seconds=_PATIENCE, what=kind.__name__)
        return cast("Event[DataT]", found()[0])

    async def score(self, model: str, *, version: str = "", request_id: str = "") -> float:
        """What a model of `onnx_models.constant` answers."""
        async with triton.InferenceServerClient(self.grpc) as client:
            return await ask(client, model, version=version, request_id=request_id)


async def ask(
    client: triton.InferenceServerClient,
    model: str,
    *,
    version: str = "",
    request_id: str = "",
    headers: dict[str, str] | None = None,
    element: float = 0.0,
) -> float:
    """One row for a model of `onnx_models.constant`, all of whose elements are `element`."""
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.full((1, 4), element, np.float32))
    result = await client.infer(
        model, [tensor], model_version=version, request_id=request_id, headers=headers
    )
    return float(result.as_numpy("score")[0])


@asynccontextmanager
async def serving_processes(
    backends: Backends,
    database: TestDatabase,
    directory: Path,
    heard: Sequence[Topic] = (*QUIET_TOPICS, SERVING_LOG),
    /,
    **settings: str,
) -> AsyncIterator[Serving]:
    """Both processes, started and ready, with a project and a bucket of their own.

    What they emit on the topics that are `heard` is in `events`.
    """
    project = bucket = f"serving-{uuid4().hex[:12]}"
    await asyncio.to_thread(provision.bucket, backends, bucket)
    await skip_history(database=database, kafka=backends.kafka, service="serving")
    http_port, worker_port, grpc_port = free_ports(3)
    env = _environment(backends, database, directory, settings) | {
        "HEADRACE_SERVING_PROJECT": project,
        "HEADRACE_SERVING_S3_BUCKET": bucket,
        "HEADRACE_SERVING_HTTP_PORT": str(http_port),
        "HEADRACE_SERVING_WORKER_HTTP_PORT": str(worker_port),
        "HEADRACE_SERVING_GRPC_PORT": str(grpc_port),
    }
    blobs = Blobs.open(
        endpoint=backends.s3_endpoint,
        bucket=bucket,
        access_key=backends.s3_access_key,
        secret_key=backends.s3_secret_key,
    )
    async with blobs as opened, Publisher(kafka=backends.kafka, source="/registry") as publisher:
        serving = Serving(
            project=project,
            database=database,
            control=_process([], env, http_port, directory / "control.log"),
            worker=_process(["worker"], env, worker_port, directory / "worker.log"),
            grpc=f"127.0.0.1:{grpc_port}",
            blobs=opened,
            publisher=publisher,
        )
        async with _following(backends.kafka, serving, heard):
            try:
                serving.control.start()
                serving.worker.start()
                await serving.control.wait_ready()
                await serving.worker.wait_ready()
                yield serving
            finally:
                serving.worker.stop()
                serving.control.stop()


@dataclass(frozen=True, kw_only=True)
class SecondWorker:
    """Another worker of the same control process."""

    process: Process
    grpc: str


@asynccontextmanager
async def second_worker(serving: Serving) -> AsyncIterator[SecondWorker]:
    """One more worker, ready, on ports of its own."""
    http_port, grpc_port = free_ports(2)
    env = serving.worker.env | {
        "HEADRACE_SERVING_INSTANCE": "1",
        "HEADRACE_SERVING_WORKER_HTTP_PORT": str(http_port),
        "HEADRACE_SERVING_GRPC_PORT": str(grpc_port),
    }
    log = serving.worker.log.with_name("worker-1.log")
    process = _process(["worker"], env, http_port, log)
    process.start()
    try:
        await process.wait_ready()
        yield SecondWorker(process=process, grpc=f"127.0.0.1:{grpc_port}")
    finally:
        process.stop()


def _contents(folder: Path) -> list[tuple[str, bytes]]:
    return [
        (path.relative_to(folder).as_posix(), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _process(arguments: list[str], env: dict[str, str], port: int, log: Path) -> Process:
    return Process(arguments=arguments, env=env, url=f"http://127.0.0.1:{port}", log=log)


@asynccontextmanager
async def _following(kafka: str, serving: Serving, topics: Sequence[Topic]) -> AsyncIterator[None]:
    async def keep(event: Event[Any]) -> None:
        if event.data.project == serving.project:
            serving.events.append(event)
            if isinstance(event.data, DeploymentState):
                serving.states[event.data.model] = event.data

    async def forget(tombstone: Tombstone) -> None:
        project, model, *alias = tombstone.key_values
        if not alias:
            return
        if project == serving.project:
            serving.states.pop(model, None)
            serving.stateless.add(model)

    log = configure_logs(service="test", level="warning")
    tail = Tail(
        kafka=kafka, topics=topics, on_event=keep, on_tombstone=forget, log=log, start="end"
    )
    running = asyncio.create_task(tail.run())
    await asyncio.wait_for(tail.caught_up.wait(), 20)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


def _environment(
    backends: Backends, database: TestDatabase, directory: Path, settings: dict[str, str]
) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    own = {
        "KAFKA": backends.kafka,
        "DATABASE_URL": database.url("serving"),
        "S3_ENDPOINT": backends.s3_endpoint,
        "S3_ACCESS_KEY": backends.s3_access_key,
        "S3_SECRET_KEY": backends.s3_secret_key,
        "SOCKET": str(directory / "serving.sock"),
        "CACHE_DIR": str(directory / "cache"),
        **settings,
    }
    return {
        **plain,
        "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'shared'}",
        "OMP_NUM_THREADS": "1",
        **{f"HEADRACE_SERVING_{name}": value for name, value in own.items()},
    }


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    ports: list[int] = []
    for port in range(21000 + os.getpid() % 1000, 22767):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError("no free ports")
