"""The HTTP server of a process: Uvicorn, without the signal handlers that the lifecycle has."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import uvicorn
from starlette.types import ASGIApp

_FINISH_SECONDS: Final = 5
_KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the front door's: it is the front door that closes what is idle."""
_BACKLOG: Final = 2048


class HttpServer:
    """Serves one application on one port."""

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        self._address = (host, port)
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                # Nobody here asks for the client's address: no look at each request's headers.
                proxy_headers=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=_FINISH_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )

    def listen(self) -> socket.socket:
        """Take the port. Raises OSError that names it if another process has it."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # Uvicorn's own way to say that a port is taken is to exit.
            return socket.create_server(self._address, family=family, backlog=_BACKLOG)
        except OSError as why:
            raise OSError(why.errno, f"cannot listen on {host}:{port}: {why.strerror}") from why

    async def run(self, listener: socket.socket) -> None:
        """Serve until `finish`; closes the socket."""
        await self._server.serve(sockets=[listener])

    def finish(self) -> None:
        """Take no more connections; `run` returns once requests in hand are answered."""
        self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
