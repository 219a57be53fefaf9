"""A TCP proxy that can be slow, cut, fall silent, or cut a connection in mid-answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, Self

_CHUNK: Final = 65536
_CLOSE_SECONDS: Final = 5.0


class Proxy:
    """Forwards loopback connections to `target`; has its port before it is opened.

    A server can so be told the port that it must advertise before either of them runs.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay = 0.0
        self._budget: int | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, sock=self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.heal()
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving, timeout=_CLOSE_SECONDS)

    def close(self) -> None:
        """Give the port back; for a proxy that was never opened."""
        self._socket.close()

    def cut(self) -> None:
        """Break every connection; new ones are taken."""
        for end in list(self._ends):
            end.transport.abort()

    def silence(self) -> None:
        """Half-open: connections stay and are taken, and nothing passes any more."""
        self._flowing.clear()

    def slow(self, seconds: float) -> None:
        """Delay every chunk, in both directions."""
        self._delay = seconds

    def cut_after(self, size: int) -> None:
        """Let `size` more bytes of answers pass, then break every connection, once."""
        self._budget = size

    def heal(self) -> None:
        """Behave from now on; what had fallen silent is cut, since its peers may wait for long."""
        self._delay = 0.0
        self._budget = None
        if not self._flowing.is_set():
            self.cut()
            self._flowing.set()

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._ends.discard(writer)
            return
        self._ends.add(far_writer)
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, _everything),
                self._pump(far_reader, writer, self._allowed),
            )
        finally:
            for end in (writer, far_writer):
                end.transport.abort()
                self._ends.discard(end)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        allowed: Callable[[bytes], bytes],
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flowing.wait()
                await asyncio.sleep(self._delay)
                passed = allowed(chunk)
                writer.write(passed)
                await writer.drain()
                if len(passed) < len(chunk):
                    self.cut()
        # The other direction ends too: neither protocol half-closes in earnest.
        writer.close()

    def _allowed(self, chunk: bytes) -> bytes:
        if self._budget is None:
            return chunk
        passed = chunk[: self._budget]
        self._budget = self._budget - len(passed) if len(passed) == len(chunk) else None
        return passed


def _everything(chunk: bytes) -> bytes:
    return chunk
