"""Predictions for a batch of requests, made before its transaction; then what is told of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from headrace.errors import InvalidInput, Permanent, Transient
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.bus import Tx
from headrace.runtime.bus.model import BatchHandler
from headrace.runtime.clock import Clock
from services.serving.asynchronous.asking import Worker
from services.serving.asynchronous.protocols import Answering, Requested, header

Outcome = ModelInferResponse | Permanent | Transient
_DEADLINE: Final = "ce_deadline"
_ROUTE: Final = "x-seldon-route"
_STICKY: Final = "x-sticky-key"


class DeadlinePassed(Permanent):
    """Nobody wants the answer any more."""


class Predictions:
    """Asks the worker for every request of a batch, several at once.

    Requests of one `sequence_id` are asked one after the other, all others beside each other.
    What was answered is not asked again while the batch is tried again.
    """

    def __init__(
        self,
        *,
        worker: Worker,
        protocol: Answering,
        slots: asyncio.Semaphore,
        seconds: float,
        clock: Clock,
    ) -> None:
        self._worker = worker
        self._protocol = protocol
        self._slots = slots
        self._seconds = seconds
        self._clock = clock
        self._settled: dict[tuple[str, int], dict[int, Outcome]] = {}

    async def __call__(self, events: Sequence[Requested]) -> BatchHandler:
        """The handler that publishes what becomes of these requests."""
        place = events[0].topic, events[0].partition
        before = self._settled.get(place, {})
        outcomes: dict[int, Outcome] = {
            event.offset: before[event.offset] for event in events if event.offset in before
        }
        self._settled[place] = outcomes
        open_ones = [event for event in events if event.offset not in outcomes]
        async with asyncio.TaskGroup() as tasks:
            for sequence in _sequences(open_ones):
                tasks.create_task(self._predict(sequence, outcomes))
        told = dict(outcomes)
        for offset, outcome in told.items():
            if isinstance(outcome, Transient):
                del outcomes[offset]
        return partial(self._publish, told)

    async def _predict(self, sequence: Sequence[Requested], outcomes: dict[int, Outcome]) -> None:
        for event in sequence:
            async with self._slots:
                outcomes[event.offset] = await self._outcome(event)

    async def _outcome(self, event: Requested) -> Outcome:
        try:
            seconds = self._seconds_left(event)
            request = self._protocol.request(event)
            return await self._worker.ask(request, seconds=seconds, metadata=_metadata(event))
        except (Permanent, Transient) as error:
            return error

    def _seconds_left(self, event: Requested) -> float:
        deadline = _deadline(event)
        if deadline is None:
            return self._seconds
        left = (deadline - self._clock.now()).total_seconds()
        if left <= 0:
            raise DeadlinePassed(f"DEADLINE_EXCEEDED: wanted until {deadline.isoformat()}")
        return min(left, self._seconds)

    async def _publish(
        self, outcomes: dict[int, Outcome], events: Sequence[Requested], tx: Tx
    ) -> None:
        """Results in the order of the requests. Raises Transient while one is still open.

        What is told is forgotten: a dead letter that is redriven is asked anew.
        """
        for event in events:
            outcome = outcomes[event.offset]
            if isinstance(outcome, Transient):
                raise outcome
            if isinstance(outcome, Permanent):
                self._protocol.fail(event, outcome, tx)
                continue
            try:
                self._protocol.answer(event, outcome, tx)
            except InvalidInput as error:
                self._protocol.fail(event, error, tx)
        self._settled.pop((events[0].topic, events[0].partition), None)


def _sequences(events: Sequence[Requested]) -> list[list[Requested]]:
    together: dict[object, list[Requested]] = defaultdict(list)
    for event in events:
        together[_sequence(event.data) or event.offset].append(event)
    return list(together.values())


def _sequence(request: ModelInferRequest) -> str | None:
    if "sequence_id" not in request.parameters:
        return None
    parameter = request.parameters["sequence_id"]
    return parameter.string_param or str(parameter.int64_param or "") or None


def _deadline(event: Requested) -> datetime | None:
    text = header(event, _DEADLINE)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"attribute deadline: not RFC 3339 ({text[:50]!r})") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _metadata(event: Requested) -> list[tuple[str, str]]:
    """What routing looks at: the record's key keeps its variant, as Seldon's route does."""
    key = event.record.key if event.record is not None else None
    given = {
        _STICKY: None if key is None else key.decode(errors="replace"),
        _ROUTE: header(event, _ROUTE),
        "traceparent": event.envelope.traceparent,
    }
    return [
        (name, text)
        for name, text in given.items()
        if text and len(text) <= 200 and text.isascii() and text.isprintable()
    ]
