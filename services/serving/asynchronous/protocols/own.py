"""Ours: CloudEvents whose data are the protocol's own messages."""

from __future__ import annotations

from typing import Final

from headrace.errors import Permanent
from headrace.limits import MAX_REQUEST_ID
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.bus import Tx
from services.serving.asynchronous.protocols import Requested, result_id

GROUP: Final = "serving.asynchronous"


class Own:
    """`serving.inference.intake.v1` to `serving.inference.answers.v1`; what fails is buried."""

    def request(self, event: Requested) -> ModelInferRequest:
        given, attributes = event.data, event.envelope.extensions
        asked = ModelInferRequest()
        asked.CopyFrom(given)
        asked.model_name = given.model_name or attributes.get("modelname", "")
        asked.model_version = given.model_version or attributes.get("modelversion", "")
        asked.id = given.id or attributes.get("requestid") or event.id[:MAX_REQUEST_ID]
        return asked

    def answer(self, event: Requested, answer: ModelInferResponse, tx: Tx) -> None:
        tx.emit(
            answer,
            cause=event,
            event_id=result_id(event),
            key=event.envelope.key,
            extensions={
                "modelname": answer.model_name,
                "modelversion": answer.model_version,
                "requestid": answer.id,
                "requestedby": event.envelope.source,
            },
        )

    def fail(self, event: Requested, error: Permanent, tx: Tx) -> None:
        tx.refuse(event, error)
