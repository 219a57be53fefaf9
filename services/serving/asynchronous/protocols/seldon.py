"""Seldon Core 2: two topics for each model or pipeline, and one for the errors of a namespace.

A pipeline here is one model: the one of its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from aiokafka import ConsumerRecord
from google.protobuf.message import DecodeError

from headrace.errors import Permanent, UndecodableEvent
from headrace.events.topics import Topic, dead_letter_topic
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.bus import Tx, Verbatim
from services.serving.asynchronous.protocols import Requested, header, result_id
from services.serving.asynchronous.protocols.documents import chained, document_of, request_of

GROUP: Final = "serving.seldon"
_INFER_TYPE: Final = "seldon-infer-type"
_ERRORS: Final = "seldon-pipeline-errors"
_REQUEST_ID: Final = "x-request-id"
_KEPT_MS: Final = 2 * 24 * 3_600_000
_PARTITIONS: Final = 6
_NAME: Final = re.compile(r"([a-z0-9-]{1,60})/(model|pipeline)/([A-Za-z0-9_-]{1,60})\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A model or pipeline of a namespace, and its topics."""

    namespace: str
    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `<namespace>/model/<name>` or `<namespace>/pipeline/<name>`. Raises ValueError."""
        matched = _NAME.match(text)
        if matched is None:
            raise ValueError(f"expected <namespace>/model|pipeline/<name>, got {text!r}")
        return cls(namespace=matched[1], kind=matched[2], name=matched[3])

    @property
    def inputs(self) -> str:
        """Topic of the requests."""
        return f"seldon.{self.namespace}.{self.kind}.{self.name}.inputs"

    @property
    def outputs(self) -> str:
        """Topic of the answers."""
        return f"seldon.{self.namespace}.{self.kind}.{self.name}.outputs"

    @property
    def errors(self) -> str:
        """Topic of what failed in the namespace."""
        return f"seldon.{self.namespace}.errors.errors"

    @property
    def intake(self) -> Topic:
        """The topic of the requests, to be read."""
        return _topic(self.inputs)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All that have to be there."""
        dead = Topic(
            name=dead_letter_topic(GROUP, self.inputs),
            partitions=1,
            retention_ms=15 * _KEPT_MS,
            kind="dead_letter",
        )
        return (self.intake, _topic(self.outputs), _topic(self.errors), dead)


class Seldon:
    """Values are protobuf or JSON, as `seldon-infer-type` says; answers have the same form."""

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._endpoints = {endpoint.inputs: endpoint for endpoint in endpoints}

    def read(self, record: ConsumerRecord) -> ModelInferRequest:
        """The request of a record. Raises UndecodableEvent."""
        kind = next(
            (value for name, value in record.headers if name.lower() == _INFER_TYPE), b""
        ).lower()
        value = record.value or b""
        if kind.startswith(b"json/") or (not kind and value[:1] == b"{"):
            return request_of(value)
        try:
            if kind.endswith(b"response"):
                return chained(ModelInferResponse.FromString(value))
            return ModelInferRequest.FromString(value)
        except DecodeError as error:
            raise UndecodableEvent("body: not an inference.ModelInferRequest") from error

    def request(self, event: Requested) -> ModelInferRequest:
        asked = ModelInferRequest()
        asked.CopyFrom(event.data)
        asked.model_name = self._endpoints[event.topic].name
        asked.id = event.data.id or header(event, _REQUEST_ID) or result_id(event)
        return asked

    def answer(self, event: Requested, answer: ModelInferResponse, tx: Tx) -> None:
        told, value = (
            (b"json/inferModelResponse", document_of(answer))
            if _is_json(event)
            else (b"proto/InferModelResponse", answer.SerializeToString())
        )
        verbatim = _reply(event, (_INFER_TYPE, told))
        topic = self._endpoints[event.topic].outputs
        tx.send(topic, value, verbatim, record_id=result_id(event))

    def fail(self, event: Requested, error: Permanent, tx: Tx) -> None:
        endpoint = self._endpoints[event.topic]
        verbatim = _reply(event, (_ERRORS, endpoint.name.encode()))
        tx.send(endpoint.errors, str(error).encode(), verbatim, record_id=result_id(event))


def _is_json(event: Requested) -> bool:
    kind = header(event, _INFER_TYPE)
    if kind:
        return kind.lower().startswith("json/")
    return event.record is not None and (event.record.value or b"")[:1] == b"{"


def _reply(event: Requested, told: tuple[str, bytes]) -> Verbatim:
    """Key, partition and headers of the request, but for the one that is told anew."""
    record = event.record
    headers = [] if record is None else [pair for pair in record.headers if pair[1] is not None]
    kept = [(name, value) for name, value in headers if name.lower() != told[0]]
    return Verbatim(
        key=None if record is None else record.key,
        headers=[*kept, told],
        partition=event.partition,
    )


def _topic(name: str) -> Topic:
    return Topic(name=name, partitions=_PARTITIONS, retention_ms=_KEPT_MS, kind="telemetry")
