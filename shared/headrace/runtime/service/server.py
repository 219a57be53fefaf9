"""The HTTP server of a process: Uvicorn, without the signal handlers that the lifecycle has."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

import uvicorn
from starlette.types import ASGIApp

_FINISH_SECONDS: Final = 5
_KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the front door's: it is the front door that closes what is idle."""


class HttpServer(uvicorn.Server):
    """Serves one application; `should_exit` ends it once requests in hand are answered."""

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_FINISH_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
