"""What the blob store is asked for and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobRef:
    """A stored blob: where it is and what it hashes to (`sha256:<hex>`)."""

    uri: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobInfo:
    """A blob as listed: its key and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ListingPage:
    """One page of a directory: what lies directly in it, in the order of the store.

    `directories` end with a slash. `next_token` goes into the call for the next page; None is
    the end.
    """

    blobs: list[BlobInfo]
    directories: list[str]
    next_token: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What a reader makes its answer depend on, as in the HTTP headers of the same names."""

    byte_range: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBlob:
    """A blob, or a range of it: what to say of it, and its `length` bytes to come.

    `content_range` (`bytes 0-9/100`) is there if it is a range. The chunks must be read or
    closed: they hold a connection.
    """

    length: int
    etag: str
    modified: datetime
    content_range: str | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRef:
    """An uploaded part, as the store named it."""

    number: int
    etag: str


def digest_of(data: bytes) -> str:
    """`sha256:<hex>` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def etag_of_parts(parts: Sequence[PartRef]) -> str:
    """The ETag that S3 gives to a blob of these parts; empty if theirs are not MD5 sums."""
    try:
        digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def directories_of(keys: Iterable[str], *, under: str) -> list[str]:
    """The directories that keys lie in, `under` and below it, the deepest first; with a slash."""
    found = {under}
    for key in keys:
        parts = key.removeprefix(under).split("/")[:-1]
        found |= {under + "/".join(parts[:depth]) + "/" for depth in range(1, len(parts) + 1)}
    return sorted(found, key=lambda directory: (-directory.count("/"), directory))
