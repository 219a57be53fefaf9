"""KServe's logger: each request and each response is a CloudEvent over HTTP, in binary mode.

As there, a request that failed is told of without a response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx

from headrace.errors import InvalidInput, Permanent, Refused, Transient
from headrace.events import PredictionLogged
from headrace.events.envelope import format_time
from headrace.runtime.bus import Event, Tx
from headrace.runtime.bus.model import BatchHandler
from headrace.runtime.clock import Clock
from services.serving.exporters.requests import Logged, requests_of

GROUP: Final = "serving.export-http"
Record = Event[PredictionLogged]
_REQUEST: Final = "org.kubeflow.serving.inference.request"
_RESPONSE: Final = "org.kubeflow.serving.inference.response"
_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One event as it goes over HTTP."""

    headers: dict[str, str]
    body: bytes


class HttpExport:
    """Posts what was logged to a sink, several events at once.

    A sink that is away or busy holds up the export, not the log: it goes on where it was, and
    sends again at most one batch. What a sink refuses for good makes its record a dead letter.
    """

    def __init__(
        self, *, url: str, source: str, client: httpx.AsyncClient, in_flight: int, clock: Clock
    ) -> None:
        self._url = url
        self._source = source
        self._client = client
        self._slots = asyncio.Semaphore(in_flight)
        self._clock = clock
        self._sent: dict[tuple[str, int], set[tuple[int, int]]] = {}

    async def __call__(self, events: Sequence[Record]) -> BatchHandler:
        """Send what was not sent in an earlier try; the handler dead-letters what was refused."""
        place = events[0].topic, events[0].partition
        sent = self._sent.setdefault(place, set())
        refused: dict[int, Permanent] = {}
        for event in events:
            try:
                await self._export(event, sent)
            except Permanent as error:
                refused[event.offset] = error
        self._sent[place] = set()
        return partial(_bury, refused)

    async def _export(self, event: Record, sent: set[tuple[int, int]]) -> None:
        try:
            messages = list(self._messages(event))
        except (ValueError, IndexError, KeyError) as error:
            raise InvalidInput(f"not a readable micro-batch: {error}") from error
        open_ones = [
            (number, message)
            for number, message in enumerate(messages)
            if (event.offset, number) not in sent
        ]
        outcomes = await asyncio.gather(
            *(self._post(message) for _, message in open_ones), return_exceptions=True
        )
        failures = []
        for (number, _), outcome in zip(open_ones, outcomes, strict=True):
            if outcome is None:
                sent.add((event.offset, number))
            else:
                failures.append(outcome)
        for failure in sorted(failures, key=lambda one: isinstance(one, Permanent)):
            raise failure

    def _messages(self, event: Record) -> Iterator[Message]:
        for logged in requests_of(event.data):
            bodies = {_REQUEST: logged.request}
            if not logged.error:
                bodies[_RESPONSE] = logged.response
            for kind, body in bodies.items():
                headers = self._headers(event.data.project, logged, kind)
                yield Message(headers=headers, body=body)

    def _headers(self, project: str, logged: Logged, kind: str) -> dict[str, str]:
        return {
            "ce-specversion": "1.0",
            "ce-id": _carried(logged.id),
            "ce-type": kind,
            "ce-source": self._source,
            "ce-time": format_time(logged.happened_at),
            "ce-recordedtime": format_time(self._clock.now()),
            "ce-inferenceservicename": _carried(logged.model),
            "ce-namespace": _carried(project or "default"),
            "ce-component": "predictor",
            "ce-endpoint": "default",
            "ce-modelversion": str(logged.version),
            "content-type": "application/json",
        }

    async def _post(self, message: Message) -> None:
        async with self._slots:
            try:
                answer = await self._client.post(
                    self._url, content=message.body, headers=message.headers
                )
            except httpx.HTTPError as error:
                raise Transient(f"{self._url}: {type(error).__name__}: {error}") from error
        if answer.is_success:
            return
        said = f"{self._url}: status {answer.status_code}: {answer.text[:200]}"
        if answer.is_server_error or answer.status_code in _LATER:
            raise Transient(said)
        raise Refused(said)


async def _bury(refused: dict[int, Permanent], events: Sequence[Record], tx: Tx) -> None:
    for event in events:
        if event.offset in refused:
            tx.refuse(event, refused[event.offset])


def _carried(text: str) -> str:
    """As CloudEvents over HTTP has it: what is no printable ASCII is percent-encoded UTF-8."""
    return "".join(
        each
        if " " < each <= "~" and each not in '"%'
        else "".join(f"%{byte:02X}" for byte in each.encode())
        for each in text
    )
