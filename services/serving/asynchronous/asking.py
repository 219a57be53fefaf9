"""Asking a worker, as any client does."""

from __future__ import annotations

from typing import Any, Final

import grpc
import grpc.aio

from headrace.errors import Permanent, Transient
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from services.serving.settings import Settings

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


def credentials_for(settings: Settings) -> grpc.ChannelCredentials | None:
    """Those for workers with these settings; their own certificate is shown where one is asked for.

    Raises OSError for a file that cannot be read.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    shown = settings.tls_client_ca is not None
    return grpc.ssl_channel_credentials(
        root_certificates=(settings.async_ca or certificate).read_bytes(),
        private_key=key.read_bytes() if shown else None,
        certificate_chain=certificate.read_bytes() if shown else None,
    )


class NoAnswer(Permanent):
    """The worker refused the request; asking again cannot help."""


class NoAnswerYet(Transient):
    """The worker is away or has too much to do."""


class Worker:
    """A worker at host:port, whichever answers there; over TLS if there are credentials."""

    def __init__(
        self,
        target: str,
        *,
        max_message_bytes: int,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = (
            grpc.aio.insecure_channel(target, options=options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=options)
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
