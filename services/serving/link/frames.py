"""Frames on the Unix socket: a length, a kind, and the payload."""

from __future__ import annotations

import asyncio
import socket
from enum import IntEnum
from struct import Struct
from typing import Final

from headrace.errors import Permanent

_HEAD: Final = Struct(">IB")
_NUMBER: Final = Struct(">Q")
MAX_PAYLOAD: Final = 16 * 1024 * 1024


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 1
    ASSIGNMENT = 2
    STATUS = 3
    LOG = 4
    PUBLISHED = 5
    MODEL_REQUEST = 6
    MODEL_ANSWER = 7
    SHADOW = 8


def frame(kind: Kind, payload: bytes) -> bytes:
    """A frame as it goes over the socket."""
    return _HEAD.pack(len(payload), kind) + payload


def numbered(number: int, data: bytes = b"") -> bytes:
    """Payload of LOG and PUBLISHED: the number of a record, and its bytes."""
    return _NUMBER.pack(number) + data


def split_numbered(payload: bytes) -> tuple[int, bytes]:
    """The number and the bytes of such a payload."""
    return _NUMBER.unpack_from(payload)[0], payload[_NUMBER.size :]


async def read_frame(reader: asyncio.StreamReader) -> tuple[Kind, bytes]:
    """The next frame. Raises asyncio.IncompleteReadError at the end of the connection."""
    length, kind = _head(await reader.readexactly(_HEAD.size))
    return kind, await reader.readexactly(length)


def receive_frame(connection: socket.socket) -> tuple[Kind, bytes]:
    """The same, blocking. Raises EOFError at the end of the connection, OSError when it fails."""
    length, kind = _head(_receive(connection, _HEAD.size))
    return kind, _receive(connection, length)


def _head(data: bytes) -> tuple[int, Kind]:
    length, kind = _HEAD.unpack(data)
    if length > MAX_PAYLOAD:
        raise Permanent(f"frame of {length} bytes: at most {MAX_PAYLOAD} are allowed")
    return length, Kind(kind)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("the connection ended inside a frame")
        data += part
    return data
