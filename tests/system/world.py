"""A whole platform for the system tests, driven as a client and an operator would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray

from deploy.local import Stack
from examples.flights.data import Flights
from examples.flights.demo import arms, bootstrap, lines
from examples.flights.demo.platform import Operator
from examples.flights.demo.replay import Question, Replay, Steady, Traffic
from examples.flights.demo.run import PIPELINE, follow
from examples.flights.demo.watch import Seen, Watch
from headrace.client import EventProducer
from headrace.runtime.blobs import Blobs

MODELS = ("flights-a", "flights-b")


@dataclass(kw_only=True)
class Answers:
    """What the client was told and what it told, by prediction id; times are wall clock."""

    by_id: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    at: dict[tuple[str, str], float] = field(default_factory=dict)
    labels: dict[str, tuple[float, datetime]] = field(default_factory=dict)

    def note(
        self, model: str, question: Question, version: int, scores: NDArray[np.float32]
    ) -> None:
        for row, score in enumerate(scores):
            identity = (model, f"{question.id}/{row}")
            self.by_id[identity] = (version, float(score))
            self.at[identity] = time.time()


@dataclass(kw_only=True)
class World:
    """The running platform and everything needed to use and to watch it."""

    stack: Stack
    flights: Flights
    platform: Operator
    blobs: Blobs
    watch: Watch
    http: httpx.AsyncClient
    answers: Answers = field(default_factory=Answers)

    async def consumers(self, service: str, verb: str) -> None:
        """Pause or resume what a service reads from Kafka."""
        answer = await self.http.post(f"{self.stack.urls[service]}/admin/consumers/{verb}")
        answer.raise_for_status()

    async def first_model(self, model: str, flights: Flights) -> None:
        """Upload, train, approve by hand, wait for the first version to answer."""
        dataset = f"{model}-labelled"
        body = await bootstrap.upload(self.blobs, bootstrap.labelled_table(flights), model=model)
        version = await self.platform.add_dataset_version(dataset, body)
        await self.platform.set_promotion_policy(model, {"auto_promote": False})
        run_id = await self.platform.start_run(
            pipeline=PIPELINE,
            model=model,
            parameters={"model": model, "dataset": dataset, "dataset_version": version},
        )
        await self.platform.finished_run(run_id, seconds=120)
        promoted = await self.platform.approve_waiting(model, approver="anna", comment="first")
        await self.until(f"{model} v{promoted} answers", "ModelDeployed", model=model)

    async def replay(self, first: date, end: date) -> Traffic:
        """Send a span of flights to both models, labels as they land."""
        async with (
            triton.InferenceServerClient(self.stack.urls["grpc"]) as endpoint,
            EventProducer(kafka=self.stack.urls["kafka"], source="/system-test") as producer,
        ):
            replay = Replay(
                flights=self.flights.between(first, end),
                models=MODELS,
                endpoint=endpoint,
                producer=producer,
                pace=Steady(),
                on_answer=self.answers.note,
            )
            async for _ in replay.run():
                pass
            for identity, label, moment in replay.reported():
                self.answers.labels[identity] = (label, moment)
            return replay.traffic

    async def until(self, what: str, name: str, *, seconds: float = 90, **attributes: Any) -> Seen:
        """Wait for a fact of the loop. Raises AssertionError naming it if it does not come."""
        found = await self.watch.until(
            lambda: bool(self.facts(name, **attributes)), seconds=seconds
        )
        last = [lines.line(fact.data) or fact.name for fact in self.watch.facts[-12:]]
        assert found, f"waited {seconds:.0f} s for: {what}; last seen: {last}"
        return self.facts(name, **attributes)[-1]

    def facts(self, name: str, **attributes: Any) -> list[Seen]:
        """Facts seen so far with these attributes in their data."""
        return [
            fact
            for fact in self.watch.facts
            if fact.name == name
            and all(getattr(fact.data, key, None) == want for key, want in attributes.items())
        ]

    async def labelled(self, model: str) -> pa.Table:
        """The model's labelled dataset without the bootstrap."""
        return arms.answered(
            await arms.labelled_table(self.platform, self.blobs, f"{model}-labelled")
        )


@asynccontextmanager
async def running_world(stack: Stack, flights: Flights) -> AsyncIterator[World]:
    """Connect to a running stack."""
    backends = stack.backends
    async with AsyncExitStack() as opened:
        watch = Watch(tell=_silent)
        following = asyncio.create_task(follow(backends.kafka, watch))
        opened.callback(following.cancel)
        yield World(
            stack=stack,
            flights=flights,
            platform=await opened.enter_async_context(Operator(stack.urls["front"])),
            blobs=await opened.enter_async_context(
                Blobs.open(
                    endpoint=backends.s3_endpoint,
                    bucket=backends.s3_bucket,
                    access_key=backends.s3_access_key,
                    secret_key=backends.s3_secret_key,
                )
            ),
            watch=watch,
            http=await opened.enter_async_context(httpx.AsyncClient(timeout=30)),
        )


def names(facts: Sequence[Seen]) -> list[str]:
    """The names of facts, in order."""
    return [fact.name for fact in facts]


def _silent(line: str) -> None:
    """Nobody reads along."""
    _ = line
