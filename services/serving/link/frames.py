"""Frames on the Unix socket: a length, a kind, and the payload."""

from __future__ import annotations

import asyncio
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
    SHADOW = 6


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
    length, kind = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    if length > MAX_PAYLOAD:
        raise Permanent(f"frame of {length} bytes: at most {MAX_PAYLOAD} are allowed")
    return Kind(kind), await reader.readexactly(length)
