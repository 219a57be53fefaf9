"""The bytes of a metric chunk: columns as little-endian differences, compressed if worth it.

Points are kept in the order in which they are given; nothing is sorted or dropped here.

Layout before compression: n x uint32 key places, n x float64 values, n x int64 timestamps,
n x int64 steps; timestamps and steps as differences to the point before (modulo 2^64).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from services.tracking.domain.points import Columns, Point

RAW: Final = 0
ZSTD: Final = 1
_WORTH_IT: Final = 512
_ROW: Final = 4 + 8 + 8 + 8
_ONE: Final = struct.Struct("<Idqq")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The points of one write as they are stored; times in milliseconds."""

    digest: bytes | None
    keys: tuple[str, ...]
    points: int
    first_timestamp: int
    last_timestamp: int
    codec: int
    body: bytes


def encode(columns: Columns, *, digest: bytes | None = None) -> Chunk:
    """Pack n >= 1 points."""
    raw = b"".join(
        (
            columns.places.astype("<u4", copy=False).tobytes(),
            columns.values.astype("<f8", copy=False).tobytes(),
            _differences(columns.timestamps),
            _differences(columns.steps),
        )
    )
    codec = ZSTD if len(raw) > _WORTH_IT else RAW
    return Chunk(
        digest=digest,
        keys=columns.keys,
        points=len(columns),
        first_timestamp=int(columns.timestamps.min()),
        last_timestamp=int(columns.timestamps.max()),
        codec=codec,
        body=zstandard.ZstdCompressor(level=1).compress(raw) if codec == ZSTD else raw,
    )


def decode(*, keys: tuple[str, ...], codec: int, body: bytes) -> Columns:
    """The points of a stored chunk."""
    raw = zstandard.ZstdDecompressor().decompress(body) if codec == ZSTD else body
    n = len(raw) // _ROW
    return Columns(
        keys=keys,
        places=np.frombuffer(raw, "<u4", n, 0).astype(np.uint32),
        values=np.frombuffer(raw, "<f8", n, 4 * n).astype(np.float64),
        timestamps=_sums(raw, n, 12 * n),
        steps=_sums(raw, n, 20 * n),
    )


def chunk_of_point(point: Point) -> Chunk:
    """The chunk that `encode` makes of one point, put together without arrays."""
    key, value, timestamp, step = point
    body = _ONE.pack(0, value, timestamp, step)
    return Chunk(
        digest=hashlib.blake2b(body + key.encode(), digest_size=16).digest(),
        keys=(key,),
        points=1,
        first_timestamp=timestamp,
        last_timestamp=timestamp,
        codec=RAW,
        body=body,
    )


def _differences(column: NDArray[np.int64]) -> bytes:
    unsigned = column.astype("<i8", copy=False).view("<u8")
    differences = unsigned.copy()
    np.subtract(unsigned[1:], unsigned[:-1], out=differences[1:])
    return differences.tobytes()


def _sums(raw: bytes, n: int, offset: int) -> NDArray[np.int64]:
    return np.cumsum(np.frombuffer(raw, "<u8", n, offset), dtype=np.uint64).view(np.int64)
