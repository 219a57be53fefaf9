"""The client: asks for predictions as flights are about to depart, reports them once landed.

It knows the platform by two addresses, the gRPC endpoint and the broker, and sends raw values
and labels, nothing else. Its clock is event time: New York, written as UTC.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from examples.flights.data import Flights
from examples.flights.features import DATATYPES, INPUTS, OUTPUT
from headrace.client import EventProducer
from headrace.events import LabelObserved

_IN_FLIGHT: Final = 8
_TRIES: Final = 20


@dataclass(frozen=True, kw_only=True)
class FirstAnswer:
    """The first answer of a model version to this client."""

    model: str
    version: int
    wall: datetime
    event_time: datetime


@dataclass(kw_only=True)
class Traffic:
    """What the client saw; `failed_at` and `answered_at` are seconds since the epoch."""

    requests: int = 0
    rows: int = 0
    labels: int = 0
    failed: list[str] = field(default_factory=list)
    failed_at: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    first_answers: list[FirstAnswer] = field(default_factory=list)
    _known: set[tuple[str, int]] = field(default_factory=set)

    def answered(self, model: str, version: int, moment: datetime) -> None:
        """Note which version answered; the first time it does, when."""
        if (model, version) not in self._known:
            self._known.add((model, version))
            self.first_answers.append(
                FirstAnswer(model=model, version=version, wall=datetime.now(UTC), event_time=moment)
            )


@dataclass(frozen=True, kw_only=True)
class Question:
    """Rows asked for in one request; `moment` is their event time."""

    id: str
    moment: datetime
    rows: slice


class Pace(Protocol):
    """Decides how fast event time passes."""

    def slow(self) -> bool:
        """Whether flights are asked one by one now."""
        ...

    async def reach(self, question: Question, *, labelled_through: datetime) -> None:
        """Return when the question may be asked; labels up to `labelled_through` are sent."""
        ...


OnAnswer = Callable[[str, Question, int, NDArray[np.float32]], None]
"""Told each answer: model, what was asked, the version that answered, the scores [rows]."""


class Replay:
    """Sends a span of flights, in order of event time, to every model named."""

    def __init__(
        self,
        *,
        flights: Flights,
        models: Sequence[str],
        endpoint: triton.InferenceServerClient,
        producer: EventProducer,
        pace: Pace,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._flights = flights
        self._models = models
        self._endpoint = endpoint
        self._producer = producer
        self._pace = pace
        self._on_answer = on_answer
        self._prediction_ids: NDArray[np.object_] = np.empty(len(flights), dtype=object)
        landed = np.argsort(flights.observed_at, kind="stable")
        self._landing = landed[~np.isnat(flights.observed_at[landed])]
        self._landed = 0
        self._asking: set[asyncio.Task[None]] = set()
        self.traffic = Traffic()

    async def run(self) -> AsyncIterator[date]:
        """Replay all; yields each event-day when it is over."""
        today: date | None = None
        async for question in self._questions():
            if today is not None and question.moment.date() != today:
                yield today
            today = question.moment.date()
            await self._pace.reach(question, labelled_through=self._labelled_through())
            await self._report_landed(question.moment)
            await self._ask(question)
        await self._answers()
        await self._report_landed(datetime.max.replace(tzinfo=UTC))
        if today is not None:
            yield today

    def reported(self) -> Iterator[tuple[str, float, datetime]]:
        """Prediction id, label and its event time, of every label that was sent."""
        for row in self._landing[: self._landed]:
            moment = _moment(self._flights.observed_at[row])
            yield str(self._prediction_ids[row]), float(self._flights.label[row]), moment

    async def _questions(self) -> AsyncIterator[Question]:
        """One request an hour and airport; one a flight while a retraining is open."""
        times = self._flights.event_time
        hours = times.astype("datetime64[h]")
        start = 0
        while start < len(times):
            if self._pace.slow():
                yield self._question(start, start + 1)
                start += 1
                continue
            end = int(np.searchsorted(hours, hours[start], side="right"))
            for question in self._by_airport(start, end):
                yield question
            start = end

    def _by_airport(self, start: int, end: int) -> Iterator[Question]:
        """Consecutive runs of at most 32 flights: a departure board asks in pages."""
        for first in range(start, end, 32):
            yield self._question(first, min(first + 32, end))

    def _question(self, start: int, end: int) -> Question:
        moment = _moment(self._flights.event_time[start])
        identity = f"{moment:%Y%m%dT%H%M}-{start}"
        self._prediction_ids[start:end] = [f"{identity}/{row}" for row in range(end - start)]
        return Question(id=identity, moment=moment, rows=slice(start, end))

    async def _ask(self, question: Question) -> None:
        if len(self._asking) >= _IN_FLIGHT:
            _, self._asking = await asyncio.wait(self._asking, return_when=asyncio.FIRST_COMPLETED)
        inputs = _inputs(self._flights, question.rows)
        for model in self._models:
            self._asking.add(asyncio.create_task(self._ask_model(model, question, inputs)))

    async def _ask_model(
        self, model: str, question: Question, inputs: list[triton.InferInput]
    ) -> None:
        for attempt in range(_TRIES):
            began = time.perf_counter()
            try:
                answer = await self._endpoint.infer(
                    model,
                    inputs,
                    request_id=question.id,
                    outputs=[triton.InferRequestedOutput(OUTPUT)],
                    parameters={"event_time_us": int(question.moment.timestamp() * 1_000_000)},
                )
            except InferenceServerException as error:
                self.traffic.failed.append(f"{question.id} {model}: {error}")
                self.traffic.failed_at.append(time.time())
                await asyncio.sleep(min(2.0, 0.05 * 2**attempt))
                continue
            rows = question.rows.stop - question.rows.start
            self.traffic.requests += 1
            self.traffic.answered_at.append(time.time())
            self.traffic.rows += rows
            self.traffic.latencies_ms.append((time.perf_counter() - began) * 1000)
            version = int(answer.get_response().model_version)
            self.traffic.answered(model, version, question.moment)
            if self._on_answer is not None:
                self._on_answer(model, question, version, answer.as_numpy(OUTPUT).reshape(-1))
            return

    async def _answers(self) -> None:
        if self._asking:
            await asyncio.wait(self._asking)
            self._asking.clear()

    def _labelled_through(self) -> datetime:
        """The latest arrival reported so far."""
        if self._landed == 0:
            return _moment(self._flights.event_time[0])
        return _moment(self._flights.observed_at[self._landing[self._landed - 1]])

    async def _report_landed(self, moment: datetime) -> None:
        """Labels of the flights that landed by now; each was asked for before it departed."""
        arrival = self._flights.observed_at[self._landing]
        until = int(np.searchsorted(arrival, _stamp(moment), side="right"))
        if until == self._landed:
            return
        landed = self._landing[self._landed : until]
        self._landed = until
        labels = [
            LabelObserved(
                model=model,
                prediction_id=self._prediction_ids[row],
                label=float(self._flights.label[row]),
                observed_at=_moment(self._flights.observed_at[row]),
            )
            for row in landed
            for model in self._models
        ]
        await self._producer.emit_many(labels)
        self.traffic.labels += len(labels)


class Steady:
    """Event time passes as fast as the platform answers."""

    def slow(self) -> bool:
        return False

    async def reach(self, question: Question, *, labelled_through: datetime) -> None:
        _ = question, labelled_through


def _inputs(flights: Flights, rows: slice) -> list[triton.InferInput]:
    tensors = []
    for name in INPUTS:
        values = flights.columns[name][rows].reshape(-1, 1)
        tensor = triton.InferInput(name, list(values.shape), DATATYPES[name])
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    return tensors


def _moment(stamp: np.datetime64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=int(stamp.astype("datetime64[us]").astype(np.int64))
    )


def _stamp(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")
