"""How requests and answers look on topics: ours, Seldon's and MLServer's."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID, uuid5

from headrace.errors import Permanent
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.bus import Event, Tx

Requested = Event[ModelInferRequest]
_RESULTS = UUID("6f5c1c1e-0d6b-5a0e-9a53-0b1f0c1d7a11")


class Answering(Protocol):
    """One protocol; what it writes commits with the offset of the request."""

    def request(self, event: Requested) -> ModelInferRequest:
        """What the worker is asked. Raises Permanent when it cannot be told."""
        ...

    def answer(self, event: Requested, answer: ModelInferResponse, tx: Tx) -> None:
        """Publish an answer. Raises InvalidInput when no record can carry it."""
        ...

    def fail(self, event: Requested, error: Permanent, tx: Tx) -> None:
        """Publish why there is no answer."""
        ...


def result_id(event: Requested) -> str:
    """Id of the one result of a request, also where it is made again."""
    return str(uuid5(_RESULTS, f"{event.topic}/{event.partition}/{event.offset}"))


def header(event: Requested, name: str) -> str | None:
    """The last header of that name, if it is text."""
    found = None
    for given, raw in event.record.headers if event.record is not None else ():
        if given.lower() == name and raw is not None:
            found = raw.decode(errors="replace")
    return found
