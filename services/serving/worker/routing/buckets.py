"""From a key to its bucket: the same on every replica, in every process, after every restart."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from services.serving.worker.model import Model

BUCKETS: Final = 10_000
_SALT_BYTES: Final = 64


def bucket_of(salt: bytes, key: bytes) -> int:
    """BLAKE2b (RFC 7693) of the key, keyed with `salt` (at most 64 bytes), as one of 10,000.

    Eight bytes of the hash are taken modulo 10,000, which prefers no bucket by more than 1e-15.
    """
    digest = blake2b(key, digest_size=8, key=salt).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def shadows_of(request_id: str, shadows: Sequence[tuple[Model, int]]) -> list[Model]:
    """Those of the shadows, each with its buckets of 10,000, that predict this request too."""
    key = request_id.encode()
    return [
        shadow
        for shadow, weight in shadows
        if bucket_of(b"shadow/%d" % shadow.version, key) < weight
    ]


def salt_bytes(salt: str) -> bytes:
    """A table's salt as the key of the hash."""
    return salt.encode()[:_SALT_BYTES]
