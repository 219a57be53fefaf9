"""Tensors on the wire: raw bytes as the Open Inference Protocol wants them, and numpy arrays.

Raw layout: little-endian, row-major, no padding. A BYTES element is a little-endian uint32 length
and that many bytes; ONNX strings are UTF-8, so other bytes are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from struct import Struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BYTES: Final = "BYTES"
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_LENGTH: Final = Struct("<I")


class Malformed(ValueError):
    """Bytes that are not the tensor they are said to be; the message says where it ends."""


class WrongSize(Malformed):
    """A tensor of fixed-size elements with too few or too many bytes."""

    def __init__(self, *, expected: int, got: int) -> None:
        super().__init__(f"Expected {expected}, got {got}")


def decode(datatype: str, shape: Sequence[int], raw: bytes) -> Array:
    """Raw bytes as an array: a read-only view of `raw`, or an object array of `str` for BYTES.

    Raises WrongSize or Malformed.
    """
    if datatype == BYTES:
        strings = decode_strings(raw, prod(shape))
        array = np.empty(len(strings), dtype=object)
        array[:] = strings
        return array.reshape(shape)
    dtype = DTYPES[datatype]
    expected = prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise WrongSize(expected=expected, got=len(raw))
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


def decode_strings(raw: bytes, count: int) -> list[str]:
    """Exactly `count` BYTES elements as text. Raises Malformed, also when they are not UTF-8."""
    strings: list[str] = []
    at, end = 0, len(raw)
    while at < end and len(strings) < count:
        start = at + 4
        if start > end:
            raise Malformed(
                f"incomplete string length indicator, expecting 4 bytes but only {end - at} "
                "bytes available"
            )
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > end:
            raise Malformed(
                f"incomplete string data, expecting string of length {at - start} but only "
                f"{end - start} bytes available"
            )
        strings.append(_text(raw[start:at], len(strings)))
    if at != end or len(strings) != count:
        more = "more than " if at != end else ""
        raise Malformed(
            f"unexpected number of string elements, expecting {count}, got {more}{len(strings)}"
        )
    return strings


def _text(element: bytes, position: int) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"element {position} is not UTF-8 ({error.reason})") from error


def encode(datatype: str, array: Array) -> bytes:
    """An array as raw bytes; BYTES takes an object array of `str` or `bytes`."""
    if datatype == BYTES:
        return encode_strings(array.ravel().tolist())
    return array.astype(DTYPES[datatype], copy=False).tobytes()


def encode_strings(elements: Iterable[str | bytes]) -> bytes:
    """BYTES elements, each behind its length."""
    parts: list[bytes] = []
    for element in elements:
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def split_rows(
    datatype: str, shape: Sequence[int], raw: bytes, starts: Sequence[int]
) -> list[bytes]:
    """Cut a raw tensor along its first dimension.

    `starts` are the first rows of the pieces, rising from 0; joined, the pieces are `raw` again.
    """
    width = prod(shape[1:])
    if datatype != BYTES:
        step = width * DTYPES[datatype].itemsize
        cuts = [start * step for start in starts]
    else:
        offsets = _element_offsets(raw)
        cuts = [offsets[start * width] for start in starts]
    return [raw[a:b] for a, b in zip(cuts, [*cuts[1:], len(raw)], strict=True)]


def _element_offsets(raw: bytes) -> list[int]:
    offsets = [0]
    at = 0
    while at < len(raw):
        at += 4 + _LENGTH.unpack_from(raw, at)[0]
        offsets.append(at)
    return offsets
