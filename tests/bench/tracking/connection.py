"""The least that keep-alive HTTP/1.1 takes from a client: whole answers, their status, the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final, cast

_END_OF_HEAD: Final = b"\r\n\r\n"
_END_OF_CHUNKS: Final = b"0\r\n\r\n"


class BadAnswerError(Exception):
    """An answer that is not 200."""


class Connection(asyncio.Protocol):
    """Sends the next request once the last is answered, until there is none or it is time."""

    def __init__(self, requests: Iterator[bytes], *, more: Callable[[], bool]) -> None:
        self.milliseconds: list[float] = []
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._more = more
        self._transport: asyncio.Transport | None = None
        self._began = 0.0
        self._head = b""
        self._whole = False
        self._left: int | None = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one in all but its base class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(BadAnswerError(f"the connection was closed: {exc}"))

    def go(self) -> None:
        """Send the next request, or finish."""
        request = next(self._requests, None) if self._more() else None
        if request is None:
            self._finish()
            return
        assert self._transport is not None
        self._head, self._whole, self._left = b"", False, 0
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            data = self._read_head(data)
            if self._whole and self._left == 0:
                self._answered()
                return
        if self._left is None:
            if data.endswith(_END_OF_CHUNKS):
                self._answered()
        elif self._left:
            self._left -= len(data)
            if self._left == 0:
                self._answered()

    def _read_head(self, data: bytes) -> bytes:
        """What follows the head, once the head is whole."""
        self._head += data
        head, end, body = self._head.partition(_END_OF_HEAD)
        if not end:
            return b""
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(BadAnswerError(self._head[:2000].decode(errors="replace")))
            return b""
        _, found, rest = head.lower().partition(b"content-length:")
        self._left = int(rest.split(b"\r\n", 1)[0]) if found else None
        self._whole = True
        return body

    def _answered(self) -> None:
        self.milliseconds.append((time.perf_counter() - self._began) * 1e3)
        self.go()

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)
