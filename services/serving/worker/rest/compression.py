"""gzip and deflate, of requests and answers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

from services.serving.worker.failure import invalid
from services.serving.worker.rest.http import Refusal

_GZIP: Final = 31
_ZLIB: Final = 15
_BARE: Final = -15
_WINDOWS: Final[Mapping[str, int]] = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
_FASTEST: Final = 1


def decompress(body: bytes, encoding: str | None, *, limit: int) -> bytes:
    """A request's body as it was before the client packed it.

    Raises Refusal for another encoding and for more than `limit` bytes, Failure for a body that is
    broken or ends too early. No more than `limit` bytes are ever unpacked.
    """
    name = (encoding or "identity").strip().lower()
    if name in {"identity", ""}:
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise Refusal(
            415, f"header 'Content-Encoding': expected gzip or deflate, got '{name[:64]}'"
        )
    if window == _ZLIB and not _has_zlib_header(body):
        window = _BARE
    try:
        return _unpacked(body, window, limit)
    except zlib.error as error:
        raise invalid(f"the body is not {name}: {error}") from error


def _has_zlib_header(body: bytes) -> bool:
    """RFC 1950: deflate's method 8, and a check of the first two bytes; some send it bare."""
    return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _unpacked(body: bytes, window: int, limit: int) -> bytes:
    packed = zlib.decompressobj(window)
    plain = packed.decompress(body, limit + 1)
    if len(plain) > limit:
        raise Refusal(413, f"the request body unpacks to more than {limit} bytes")
    if not packed.eof:
        raise invalid("the compressed body ends too early")
    if packed.unused_data:
        raise invalid(f"{len(packed.unused_data)} bytes follow the compressed body")
    return plain


def accepted(header: str | None) -> str | None:
    """The encoding to answer in, of those that Accept-Encoding names; None for as it is."""
    if header is None:
        return None
    names = {name for name, weight in map(_choice, header.split(",")) if weight}
    return next((name for name in ("gzip", "deflate") if name in names), None)


def _choice(text: str) -> tuple[str, bool]:
    name, _, parameter = text.partition(";")
    weight = parameter.strip().removeprefix("q=")
    return name.strip().lower(), not weight or weight.strip("0.") != ""


def compress(body: bytes, encoding: str) -> bytes:
    """A body packed as fast as can be."""
    packer = zlib.compressobj(_FASTEST, wbits=_WINDOWS[encoding])
    return packer.compress(body) + packer.flush()
