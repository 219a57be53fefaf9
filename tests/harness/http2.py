"""HTTP/2 frames as no well-behaved client sends them; RFC 9113, and RFC 7541 without its tables."""

from __future__ import annotations

from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
CANCEL: Final = 8
_HEAD: Final = Struct(">I")
_SETTING: Final = Struct(">HI")
_MESSAGE: Final = Struct(">BI")
_WINDOW: Final = 4
_LARGEST: Final = 16_384
_POST, _SCHEME_HTTP = b"\x83", b"\x86"
_PATH, _AUTHORITY, _CONTENT_TYPE = b"\x04", b"\x01", b"\x0f\x10"
"""Fields of the static table: whole, then names whose values follow."""


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A frame with a true length."""
    return _HEAD.pack(len(payload))[1:] + bytes([kind, flags]) + _HEAD.pack(stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame; the only value known here is `window`, of a new stream."""
    return frame(SETTINGS, 0, b"".join(_SETTING.pack(_WINDOW, value) for value in values.values()))


def opened(**values: int) -> bytes:
    """What a connection begins with."""
    return PREFACE + settings(**values)


def message(payload: bytes, *, length: int | None = None) -> bytes:
    """A gRPC message; `length` is a lie."""
    return _MESSAGE.pack(0, len(payload) if length is None else length) + payload


def headers(stream: int, path: str, flags: int = END_HEADERS) -> bytes:
    """HEADERS of a gRPC call."""
    block = (
        _POST
        + _SCHEME_HTTP
        + _PATH
        + _text(path)
        + _AUTHORITY
        + _text("localhost")
        + _CONTENT_TYPE
        + _text("application/grpc")
        + b"\x00"
        + _text("te")
        + _text("trailers")
    )
    return frame(HEADERS, stream, block, flags)


def data(stream: int, body: bytes, *, last: bool = True) -> bytes:
    """DATA frames of at most 16 KiB."""
    pieces = [body[at : at + _LARGEST] for at in range(0, max(len(body), 1), _LARGEST)]
    return b"".join(
        frame(DATA, stream, piece, END_STREAM if last and number == len(pieces) else 0)
        for number, piece in enumerate(pieces, 1)
    )


def call(stream: int, path: str, payload: bytes) -> bytes:
    """A whole unary call."""
    return headers(stream, path) + data(stream, message(payload))


def reset(stream: int) -> bytes:
    """The client has changed its mind."""
    return frame(RST_STREAM, stream, _HEAD.pack(CANCEL))


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()
