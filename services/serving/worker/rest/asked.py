"""One REST call as its function sees it, and the gRPC methods that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Call, Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.rest.http import Answer, Refusal, Request

SERVICE: Final = "inference.GRPCInferenceService"
_METHODS: Final = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name


class Calls:
    """The dispatcher's methods by their names in the protocol."""

    def __init__(self, methods: Mapping[str, Call]) -> None:
        self._methods = methods

    def call(self, name: str, payload: bytes, details: Details) -> Reply:
        """A method's reply. Raises Failure, UNIMPLEMENTED for one that is not served."""
        method = self._methods.get(f"/{SERVICE}/{name}")
        if method is None:
            raise _not_served(name)
        return method(payload, details)

    def message(self, name: str) -> Message:
        """An empty request of a method. Raises Failure for one that is not served."""
        method = _METHODS.get(name)
        if method is None:
            raise _not_served(name)
        return GetMessageClass(method.input_type)()

    def ask(self, name: str, request: Message, details: Details) -> Message:
        """A method's answer to a request from `message`."""
        reply = self.call(name, request.SerializeToString(), details)
        return GetMessageClass(_METHODS[name].output_type).FromString(reply.payload)


def _not_served(name: str) -> Failure:
    return Failure(Code.UNIMPLEMENTED, f"this server has no {name}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request whose route is found; `names` are the variable parts of its path, decoded."""

    request: Request
    calls: Calls
    details: Details
    max_json_bytes: int
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model that the path names, or nothing."""
        return self.names.get("model", "")

    @property
    def version(self) -> str:
        """The version that the path names, or nothing."""
        return self.names.get("version", "")

    def check_json_size(self, size: int) -> None:
        """Raises Refusal: a parsed document takes many times the memory of its text."""
        if size > self.max_json_bytes:
            raise Refusal(
                413,
                f"the request JSON has {size} bytes, more than {self.max_json_bytes}; send large "
                "tensors as binary data",
            )


Function = Callable[[Asked], Answer]
