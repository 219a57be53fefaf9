"""Steady load on a whole platform, as its clients make it, and what became of every call."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx
import numpy as np
import tritonclient.grpc.aio as triton
from mlflow import MlflowClient

from deploy.local import Stack
from headrace.client import EventProducer
from headrace.events import MetricColumn, RunLogged, RunReported
from headrace.events.topics import TRACKING_RUNS
from headrace.runtime.bus import Event, Tail
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import until
from tests.harness.onnx_models import constant

MLFLOW: Final = "/api/2.0/mlflow"
VALUE: Final = 42.0
_EVERY_SECONDS: Final = 0.02
_BEAT_SECONDS: Final = 0.02
_PATIENCE: Final = 60.0

WAITING: Final = [
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [{}],
                        "waitForReady": True,
                        "retryPolicy": {
                            "maxAttempts": 5,
                            "initialBackoff": "0.1s",
                            "maxBackoff": "2s",
                            "backoffMultiplier": 2,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    ),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
"""A gRPC channel that waits for a server that is restarted, as docs/operations.md has it."""


@dataclass(kw_only=True)
class Calls:
    """One kind of call."""

    name: str
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        slowest = max(self.seconds, default=0.0)
        median = float(np.median(self.seconds)) if self.seconds else 0.0
        return (
            f"{self.name:24} {len(self.seconds):6} answered {len(self.failures):4} failed"
            f"   median {median * 1000:6.1f} ms   slowest {slowest:5.2f} s"
        )


@dataclass(kw_only=True)
class Beats:
    """A steady stream of events through tracking's consumer: what was sent, what came out."""

    run_id: str = field(default_factory=lambda: f"beat-{uuid4().hex[:12]}")
    sent: list[float] = field(default_factory=list)
    handled: list[tuple[int, float]] = field(default_factory=list)

    @property
    def gaps(self) -> list[float]:
        """Seconds between one handled event and the next, from the first that was sent."""
        moments = [*self.sent[:1], *(moment for _, moment in self.handled)]
        return [later - earlier for earlier, later in itertools.pairwise(moments)]

    @property
    def delays(self) -> list[float]:
        """Seconds from the sending of an event until its effect was heard of."""
        return [moment - self.sent[number] for number, moment in self.handled]

    @property
    def numbers(self) -> list[int]:
        """Which events were handled, in the order in which they were."""
        return [number for number, _ in self.handled]


class Unanswered(Exception):
    """An answer that is not 200."""


class Load:
    """What clients do, over and over."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, endpoint: Any) -> None:
        self._stack = stack
        self._http = http
        self._endpoint = endpoint
        self._mlflow = MlflowClient(stack.urls["front"])
        self._ending = asyncio.Event()
        self.written: list[int] = []
        self.run_id = ""
        self.model = f"answer-{uuid4().hex[:8]}"
        self.calls: list[Calls] = []
        self.beats = Beats()

    async def prepare(self) -> None:
        """A run to write to, and a model that answers."""
        made = await self._post(f"{MLFLOW}/experiments/create", {"name": f"load {uuid4()}"})
        run = await self._post(f"{MLFLOW}/runs/create", {**made, "start_time": 1})
        self.run_id = run["run"]["info"]["run_id"]
        folder = f"load/{uuid4().hex}"
        await self._http.put(
            f"/api/2.0/mlflow-artifacts/artifacts/{folder}/model.onnx", content=constant(VALUE)
        )
        await self._post(f"{MLFLOW}/registered-models/create", {"name": self.model})
        await self._post(
            f"{MLFLOW}/model-versions/create",
            {"name": self.model, "source": f"mlflow-artifacts:/{folder}"},
        )
        await self._post(
            f"/api/registry/v1/models/{self.model}/versions/1/promotion-requests",
            {"requested_by": "load", "comment": "", "evidence": None},
        )

        async def answers() -> bool:
            models = (await self._http.get("/api/serving/v1/models")).json()["models"]
            return any(model["model"] == self.model and model["champion"] for model in models)

        await until(answers, seconds=_PATIENCE, what="a deployed model")

    @property
    def ending(self) -> bool:
        """Whether the calls are to stop."""
        return self._ending.is_set()

    @asynccontextmanager
    async def running(self, *kinds: tuple[str, Callable[[int], Awaitable[None]]]) -> Any:
        """These calls, each kind one after another, until the block ends."""
        self._ending.clear()
        tasks = [asyncio.create_task(self._steadily(name, ask)) for name, ask in kinds]
        try:
            yield
        finally:
            self._ending.set()
            await asyncio.gather(*tasks)

    async def some_more(self, count: int = 10) -> None:
        """Return when each kind of call has been answered some more times."""
        goals = [(calls, len(calls.seconds) + count) for calls in self.calls]
        await until(
            lambda: all(len(calls.seconds) >= goal for calls, goal in goals),
            seconds=_PATIENCE,
            what=f"{count} more answers each",
        )

    async def write(self, number: int) -> None:
        """One point of a metric; noted once it is acknowledged."""
        answer = await self.send(number)
        if answer.status_code != 200:
            raise Unanswered(f"{answer.status_code} {answer.text[:200]}")
        self.written.append(number)

    async def send(self, number: int) -> httpx.Response:
        """The same, once, whatever the answer."""
        point = {"key": "loss", "value": number, "timestamp": number, "step": number}
        body = {"run_id": self.run_id, "metrics": [point]}
        return await self._http.post(f"{MLFLOW}/runs/log-batch", json=body)

    async def client_write(self, number: int) -> None:
        """The same by MLflow's own client."""
        await asyncio.to_thread(
            self._mlflow.log_metric, self.run_id, "client", float(number), step=number
        )

    async def predict(self, number: int) -> None:
        tensor = triton.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 4), np.float32))
        found = await self._endpoint.infer(self.model, [tensor], request_id=str(number))
        if float(found.as_numpy("score")[0]) != VALUE:
            raise Unanswered("another model's answer")

    def read(self, path: str) -> Callable[[int], Awaitable[None]]:
        """Reads of one path through the front door."""

        async def ask(number: int) -> None:
            _ = number
            answer = await self._http.get(path)
            if answer.status_code != 200:
                raise Unanswered(f"{answer.status_code} {answer.text[:200]}")

        return ask

    async def stored_steps(self) -> list[int]:
        """Every point that was written, page by page."""
        steps: list[int] = []
        query = {"run_id": self.run_id, "metric_key": "loss", "max_results": "1000"}
        while True:
            found = (await self._http.get(f"{MLFLOW}/metrics/get-history", params=query)).json()
            steps.extend(int(point["step"]) for point in found.get("metrics", ()))
            if not found.get("next_page_token"):
                return steps
            query["page_token"] = found["next_page_token"]

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[Beats]:
        """Events reported over Kafka, fifty a second, and what tracking says of each."""
        kafka = self._stack.urls["kafka"]

        async def note(event: Event[Any]) -> None:
            if isinstance(event.data, RunLogged) and event.data.run_id == self.beats.run_id:
                handled = [int(one.last) for one in event.data.metrics]
                self.beats.handled.extend((number, time.monotonic()) for number in handled)

        log = configure_logs(service="load", level="error")
        tail = Tail(kafka=kafka, topics=(TRACKING_RUNS,), on_event=note, log=log, start="end")
        reading = asyncio.create_task(tail.run())
        await asyncio.wait_for(tail.caught_up.wait(), _PATIENCE)
        ending = asyncio.Event()
        async with EventProducer(kafka=kafka, source="/load") as producer:
            sending = asyncio.create_task(self._beat(producer, ending))
            try:
                yield self.beats
            finally:
                ending.set()
                await sending
        await until(
            lambda: len(self.beats.handled) >= len(self.beats.sent),
            seconds=_PATIENCE,
            what="all beats",
        )
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    async def _beat(self, producer: EventProducer, ending: asyncio.Event) -> None:
        while not ending.is_set():
            number = len(self.beats.sent)
            self.beats.sent.append(time.monotonic())
            column = MetricColumn(
                key="beat", values=[float(number)], steps=[number], timestamps=[number]
            )
            await producer.emit(RunReported(run_id=self.beats.run_id, metrics=[column]))
            await asyncio.sleep(_BEAT_SECONDS)

    async def _steadily(self, name: str, ask: Callable[[int], Awaitable[None]]) -> None:
        calls = Calls(name=name)
        self.calls.append(calls)
        number = 0
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                await ask(number)
            except Exception as error:
                calls.failures.append(f"{type(error).__name__}: {error}")
            else:
                calls.seconds.append(time.monotonic() - began)
            number += 1
            await asyncio.sleep(_EVERY_SECONDS)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._http.post(path, json=body)
        if answer.status_code != 200:
            raise Unanswered(f"{answer.status_code} {answer.text[:200]}")
        document: dict[str, Any] = answer.json()
        return document


@asynccontextmanager
async def loading(stack: Stack) -> AsyncIterator[Load]:
    """The load on a running stack, prepared."""
    async with AsyncExitStack() as opened:
        http = await opened.enter_async_context(
            httpx.AsyncClient(base_url=stack.urls["front"], timeout=60)
        )
        endpoint = await opened.enter_async_context(
            triton.InferenceServerClient(stack.urls["grpc"], channel_args=WAITING)
        )
        load = Load(stack, http, endpoint)
        await load.prepare()
        yield load


async def logged_steps(stack: Stack, run_id: str, *, until_count: int) -> list[int]:
    """The steps that tracking told of in its events for a run, once that many are there."""
    steps: list[int] = []

    async def note(event: Event[Any]) -> None:
        if isinstance(event.data, RunLogged) and event.data.run_id == run_id:
            steps.extend(one.step for one in event.data.metrics)

    log = configure_logs(service="load", level="error")
    kafka = stack.urls["kafka"]
    reading = asyncio.create_task(
        Tail(kafka=kafka, topics=(TRACKING_RUNS,), on_event=note, log=log).run()
    )
    try:
        await until(lambda: len(steps) >= until_count, seconds=_PATIENCE, what="every event")
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return steps


async def all_ready(stack: Stack, *, seconds: float = _PATIENCE) -> None:
    """Return once every service says so."""
    async with httpx.AsyncClient(timeout=5) as http:

        async def ready() -> bool:
            asking = (http.get(f"{stack.urls[name]}/readyz") for name in stack.options.services)
            answers = await asyncio.gather(*asking, return_exceptions=True)
            return all(
                isinstance(answer, httpx.Response) and answer.status_code == 200
                for answer in answers
            )

        await until(ready, seconds=seconds, what="every service ready")
