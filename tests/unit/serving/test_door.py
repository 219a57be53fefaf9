"""The way of streams from the native front-end to the grpcio server behind it."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.serving.worker.fronts.door import Door
from services.serving.worker.fronts.streams import Streams

_HEAD = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""What every client of HTTP/2 begins with: its preface and empty settings."""


def _client() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(20)
    return made


@contextmanager
def _no_files_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_lets_connections_in_again_when_there_are_files_again(tmp_path: Path) -> None:
    door = Door(tmp_path, streams=Streams(), max_message_bytes=2**20)
    with _client() as client:
        with _no_files_left():
            door.start()
            (accepting,) = [each for each in threading.enumerate() if each.name == "streams-door"]
            client.connect(str(door.path))
            # One that gave up would have ended by then.
            accepting.join(0.3)
        client.sendall(_HEAD)
        assert client.recv(9), "no settings of a server"
    door.stop(0)
