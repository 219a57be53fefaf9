"""Asking a worker, as any client does."""

from __future__ import annotations

from typing import Any, Final

import grpc
import grpc.aio

from headrace.errors import Permanent, Transient
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse

_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
_TOO_LARGE: Final = "larger than max"
_LATER: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    }
)


class NoAnswer(Permanent):
    """The worker refused the request; asking again cannot help."""


class NoAnswerYet(Transient):
    """The worker is away or has too much to do."""


class Worker:
    """A worker at host:port, whichever answers there."""

    def __init__(self, target: str, *, max_message_bytes: int) -> None:
        self._channel = grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._call: Any = self._channel.unary_unary(_PATH)

    async def close(self) -> None:
        """End calls that are under way."""
        await self._channel.close()

    async def ask(
        self, request: ModelInferRequest, *, seconds: float, metadata: list[tuple[str, str]]
    ) -> ModelInferResponse:
        """The answer. Raises NoAnswer or NoAnswerYet, also after so many seconds."""
        try:
            reply = await self._call(
                request.SerializeToString(), timeout=seconds, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            message = f"{code.name}: {details}"
            if code in _LATER and _TOO_LARGE not in details:
                raise NoAnswerYet(message) from error
            raise NoAnswer(message) from error
        return ModelInferResponse.FromString(reply)
