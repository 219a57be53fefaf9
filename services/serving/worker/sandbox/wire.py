"""Tensors over a pair of sockets: a small JSON head, then the raw bytes. No pickle either way.

Frame: little-endian uint32 length of the head, uint64 length of the body, head, body. The head
is an object; `tensors` in it lists name, datatype, shape and number of bytes of what the body is
made of, in the raw layout of the protocol.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final

import numpy as np
import orjson

from services.serving.worker.tensors import BYTES, DTYPES, Array, Malformed, decode, encode

_LENGTHS: Final = Struct("<IQ")
_MAX_HEAD: Final = 1024 * 1024
_MAX_DIMENSIONS: Final = 32
Named = tuple[str, str, Array]
"""A tensor with its name and datatype."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What one side says: some fields, and tensors."""

    fields: dict[str, Any]
    tensors: Sequence[Named] = field(default=())


def send(connection: socket.socket, message: Message) -> None:
    """Raises OSError when the other side is gone, TimeoutError at the connection's time limit."""
    parts = [(name, kind, array, _raw(kind, array)) for name, kind, array in message.tensors]
    listed = [[name, kind, array.shape, len(raw)] for name, kind, array, raw in parts]
    head = orjson.dumps({**message.fields, "tensors": listed})
    body = [raw for _, _, _, raw in parts]
    lengths = _LENGTHS.pack(len(head), sum(len(raw) for raw in body))
    connection.sendall(b"".join([lengths, head, *body]) if _is_small(body) else lengths + head)
    if not _is_small(body):
        for raw in body:
            connection.sendall(raw)


def receive(connection: socket.socket, *, max_body: int, deadline: float | None = None) -> Message:
    """The next message; `deadline` in seconds of `time.monotonic()`.

    Nothing that comes is trusted: raises Malformed when it makes no sense or is too large,
    EOFError at the end, TimeoutError at the deadline.
    """
    lengths = _read(connection, _LENGTHS.size, deadline)
    head_size, body_size = _LENGTHS.unpack(lengths)
    if head_size > _MAX_HEAD or body_size > max_body:
        raise Malformed(f"a message of {head_size} and {body_size} bytes, at most {max_body}")
    head = _parsed(_read(connection, head_size, deadline))
    body = memoryview(_read(connection, body_size, deadline))
    return Message(fields=head, tensors=_tensors(head.pop("tensors", []), body))


def _is_small(body: Sequence[bytes]) -> bool:
    return sum(len(raw) for raw in body) < 65_536


def _raw(kind: str, array: Array) -> bytes:
    return encode(kind, array)


def _parsed(data: bytearray) -> dict[str, Any]:
    try:
        head = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"a head that is not JSON: {error}") from error
    if not isinstance(head, dict):
        raise Malformed("a head that is no object")
    return head


def _tensors(listed: Any, body: memoryview) -> list[Named]:
    tensors: list[Named] = []
    at = 0
    for entry in _list(listed):
        name, kind, shape, size = _entry(entry)
        tensors.append((name, kind, decode(kind, shape, bytes(body[at : at + size]))))
        at += size
    if at != len(body):
        raise Malformed(f"tensors of {at} bytes in a body of {len(body)}")
    return tensors


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed("tensors that are no list")
    return value


def _entry(entry: Any) -> tuple[str, str, list[int], int]:
    match entry:
        case [str(name), str(kind), [*shape], int(size)] if (
            (kind in DTYPES or kind == BYTES)
            and len(shape) <= _MAX_DIMENSIONS
            and all(isinstance(length, int) and length >= 0 for length in shape)
            and size >= 0
        ):
            return name, kind, shape, size
    raise Malformed(f"a tensor described as {str(entry)[:200]}")


def _read(connection: socket.socket, size: int, deadline: float | None) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        count = connection.recv_into(view)
        if count == 0:
            raise EOFError("the other side is gone")
        view = view[count:]
    return data


def of_array(name: str, kind: str, array: Any) -> Named:
    """A tensor of a datatype, from whatever numpy takes for one."""
    return name, kind, np.asarray(array)
