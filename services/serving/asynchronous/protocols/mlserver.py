"""MLServer: JSON on one topic for all models, which headers name."""

from __future__ import annotations

from typing import Final

from aiokafka import ConsumerRecord

from headrace.errors import Permanent, UndecodableEvent
from headrace.events.topics import Topic, dead_letter_topic
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.bus import Tx, Verbatim
from services.serving.asynchronous.protocols import Requested, result_id
from services.serving.asynchronous.protocols.documents import document_of, request_of

GROUP: Final = "serving.mlserver"
_MODEL: Final = "mlserver-model"
_VERSION: Final = "mlserver-version"
_KEPT_MS: Final = 2 * 24 * 3_600_000
_PARTITIONS: Final = 6


class MLServer:
    """From one topic to another; MLServer only logs what fails, here it is a dead letter."""

    def __init__(self, *, intake: str, answers: str) -> None:
        self.intake = Topic(
            name=intake, partitions=_PARTITIONS, retention_ms=_KEPT_MS, kind="telemetry"
        )
        self._answers = Topic(
            name=answers, partitions=_PARTITIONS, retention_ms=_KEPT_MS, kind="telemetry"
        )

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All that have to be there."""
        dead = Topic(
            name=dead_letter_topic(GROUP, self.intake.name),
            partitions=1,
            retention_ms=15 * _KEPT_MS,
            kind="dead_letter",
        )
        return (self.intake, self._answers, dead)

    def read(self, record: ConsumerRecord) -> ModelInferRequest:
        """The request of a record; its key is the id. Raises UndecodableEvent."""
        headers = {name.lower(): value for name, value in record.headers if value is not None}
        try:
            model = headers[_MODEL].decode()
            version = headers.get(_VERSION, b"").decode()
            key = (record.key or b"").decode()
        except KeyError as error:
            raise UndecodableEvent(f"header {_MODEL}: missing") from error
        except UnicodeDecodeError as error:
            raise UndecodableEvent(f"key or header: not UTF-8 ({error.reason})") from error
        request = request_of(record.value or b"")
        request.model_name, request.model_version = model, version
        request.id = key or request.id
        return request

    def request(self, event: Requested) -> ModelInferRequest:
        asked = ModelInferRequest()
        asked.CopyFrom(event.data)
        asked.id = event.data.id or result_id(event)
        return asked

    def answer(self, event: Requested, answer: ModelInferResponse, tx: Tx) -> None:
        headers = [
            (_MODEL, answer.model_name.encode()),
            (_VERSION, answer.model_version.encode()),
            ("content-type", b"application/json"),
        ]
        verbatim = Verbatim(key=answer.id.encode(), headers=headers)
        tx.send(self._answers.name, document_of(answer), verbatim, record_id=result_id(event))

    def fail(self, event: Requested, error: Permanent, tx: Tx) -> None:
        tx.refuse(event, error)
