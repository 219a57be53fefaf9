"""JSON lines over a socket pair between a worker's supervisor and a step's process."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any


class Channel:
    """The step's end: blocking, one message a line."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = connection.makefile("rb")

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises BrokenPipeError when the supervisor is gone."""
        self._socket.sendall(encoded(message))

    def receive(self) -> dict[str, Any]:
        """The next message. Raises EOFError when the supervisor is gone."""
        line = self._reader.readline()
        if not line:
            raise EOFError("the worker's supervisor closed the channel")
        message: dict[str, Any] = json.loads(line)
        return message


def encoded(message: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"
