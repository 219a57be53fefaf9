"""One POST to a receiver: bounded in time and size, redirects not followed, no proxy used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore
import httpx

from services.registry.domain.addresses import Networks
from services.registry.domain.deliveries import Answer
from services.registry.webhooks.guard import GuardedNetwork, NotCalled

_MAX_ANSWER: Final = 2048
_KEEP_SECONDS: Final = 15.0
_MOST_CONNECTIONS: Final = 64
_TROUBLE: Final = (
    NotCalled,
    OSError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    ValueError,
)
"""The last is raised for names that no resolver takes: with an empty label, or one too long."""


class Sender:
    """Posts to receivers; what goes wrong is an answer too, nothing is raised."""

    def __init__(self, *, allowed: Networks, seconds: float) -> None:
        self.allowed = allowed
        self.seconds = seconds
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_KEEP_SECONDS,
            network_backend=GuardedNetwork(allowed=allowed),
        )

    async def post(self, url: str, *, headers: Mapping[str, str], body: str) -> Answer:
        """What the receiver answered within `seconds`, or why it did not."""
        try:
            async with (
                asyncio.timeout(self.seconds),
                self._connections.stream(
                    "POST", url, headers=list(headers.items()), content=body.encode()
                ) as response,
            ):
                return Answer(
                    status=response.status,
                    body=await _beginning(response),
                    retry_after=_retry_after(response),
                )
        except TimeoutError:
            return Answer(error=f"no answer within {self.seconds:g} s")
        except _TROUBLE as error:
            return Answer(error=f"{type(error).__name__}: {error}".rstrip(": "))

    async def close(self) -> None:
        await self._connections.aclose()


async def _beginning(response: httpcore.Response) -> str:
    """The first bytes of the answer as text; one that breaks off is taken as far as it came."""
    content = b""
    with contextlib.suppress(httpcore.NetworkError, httpcore.ProtocolError):
        async for chunk in response.aiter_stream():
            content += chunk
            if len(content) >= _MAX_ANSWER:
                break
    return content[:_MAX_ANSWER].decode(errors="replace").replace("\x00", "")


def _retry_after(response: httpcore.Response) -> float | None:
    """Seconds that the receiver asks to be left alone (RFC 9110, section 10.2.3)."""
    for name, value in response.headers:
        if name.lower() != b"retry-after":
            continue
        text = value.decode("latin-1").strip()
        if text.isdigit():
            return float(text[:9])
        with contextlib.suppress(ValueError, TypeError):
            return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    return None
