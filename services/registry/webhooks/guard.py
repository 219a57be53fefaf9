"""Connections that go nowhere but where the registry may call.

The check is made on the address that the connection is then made to, so that a name cannot mean
a public host when it is looked at and a private one when it is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable

import httpcore

from services.registry.domain.addresses import Networks, trouble


class NotCalled(Exception):
    """The host has an address that the registry does not call."""


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """TCP to checked addresses only; TLS still sees the name, so certificates are checked."""

    def __init__(self, *, allowed: Networks) -> None:
        self._allowed = allowed
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The first address that answers. Raises NotCalled if any of them is not to be called."""
        *others, last = await self._checked(host, port)
        for address in others:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
        return await self._network.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        _ = timeout, socket_options
        raise NotCalled(f"{path} is not called: it is a file")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            reason = trouble(address, self._allowed)
            if reason is not None:
                raise NotCalled(f"{host}: {reason}")
        return addresses
