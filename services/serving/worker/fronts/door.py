"""The grpcio server for streams, opened when the first one comes.

grpcio takes 12 MB and most workers never see a stream. Bytes pass through here unread, in both
directions and at the pace of the slower side.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.serving.worker.fronts.streams import Streams

if TYPE_CHECKING:
    from services.serving.worker.fronts.grpcio_front import GrpcioFront

_CHUNK: Final = 64 * 1024
_RETRY_SECONDS: Final = 0.1


class Door:
    """Listens on a Unix socket of its own, `path`, and joins each connection to the server's."""

    def __init__(self, directory: Path, *, streams: Streams, max_message_bytes: int) -> None:
        self.path = directory / "door.sock"
        self._inner = directory / "grpc.sock"
        self._streams = streams
        self._max_bytes = max_message_bytes
        self._server: GrpcioFront | None = None
        self._opening = threading.Lock()
        self._stopped = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(self.path))
        self._listening.listen()

    def start(self) -> None:
        """Let connections in."""
        threading.Thread(target=self._accept, name="streams-door", daemon=True).start()

    def stop(self, grace: float) -> None:
        """Give open streams `grace` seconds and let nobody in any more. Blocks."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            # Closing alone does not wake a thread that waits in accept.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._opening:
            server = self._server
        if server is not None:
            server.stop(grace)

    def _accept(self) -> None:
        """A process that has no file or thread left now may have one later."""
        while not self._stopped.is_set():
            try:
                outer, _ = self._listening.accept()
                _start(self._join, outer)
            except (OSError, RuntimeError):
                self._stopped.wait(_RETRY_SECONDS)

    def _join(self, outer: socket.socket) -> None:
        with (
            contextlib.suppress(OSError, RuntimeError),
            outer,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as inner,
        ):
            self._open()
            inner.connect(str(self._inner))
            back = _start(_copy, inner, outer)
            _copy(outer, inner)
            back.join()

    def _open(self) -> None:
        """Raises OSError once nobody is to be let in any more."""
        with self._opening:
            if self._stopped.is_set():
                raise ConnectionAbortedError
            if self._server is None:
                self._server = self._opened()

    def _opened(self) -> GrpcioFront:
        from services.serving.worker.fronts.grpcio_front import GrpcioFront  # noqa: PLC0415

        server = GrpcioFront(
            methods={},
            streams=self._streams,
            address=f"unix:{self._inner}",
            threads=1,
            max_message_bytes=self._max_bytes,
            shared_port=False,
        )
        server.start()
        return server


def _start(target: Callable[..., None], *ends: socket.socket) -> threading.Thread:
    thread = threading.Thread(target=target, args=ends, name="streams", daemon=True)
    thread.start()
    return thread


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until either side ends; then the other one is told."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
