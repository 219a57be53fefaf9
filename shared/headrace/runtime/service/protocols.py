"""Protocols that answer HTTP in their own words, past the web framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

Protocols = Mapping[str, ASGIApp]
"""Applications by the first part of their paths, as in `/v2`."""


class ByProtocol:
    """Gives a request to the protocol of its path, and any other to the application.

    While `aside` says so, the application gets all of them.
    """

    def __init__(
        self, app: ASGIApp, protocols: Protocols, *, aside: Callable[[], bool] = lambda: False
    ) -> None:
        self._app = app
        self._protocols = protocols
        self._aside = aside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = None
        if scope["type"] == "http" and not self._aside():
            path: str = scope["path"]
            app = self._protocols.get("/" + path[1:].partition("/")[0])
        await (app or self._app)(scope, receive, send)
