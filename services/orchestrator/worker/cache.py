"""Blobs on the local disk, by digest: what a step wrote, the next one need not download."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from uuid import uuid4

from headrace.errors import Refused
from headrace.runtime.blobs import Blobs

_CHUNK: Final = 1024 * 1024
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")


class Digested(Protocol):
    """What has an address and a digest."""

    @property
    def uri(self) -> str: ...
    @property
    def digest(self) -> str: ...


@dataclass(kw_only=True)
class BlobCache:
    """Verified, read-only copies; the least recently used go when `limit` bytes are exceeded."""

    directory: Path
    blobs: Blobs
    limit: int
    _fetching: dict[str, asyncio.Task[Path]] = field(default_factory=dict)
    _pins: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for partial in self.directory.glob("*.part"):
            partial.unlink(missing_ok=True)

    async def fetch(self, uri: str, digest: str) -> Path:
        """The local copy of a blob. Raises Refused if the content is another one, NotFound."""
        path = self._path(digest)
        if path.exists():
            os.utime(path)
            return path
        task = self._fetching.get(digest)
        if task is None:
            task = asyncio.create_task(self._download(uri, digest))
            self._fetching[digest] = task
            task.add_done_callback(lambda _: self._fetching.pop(digest, None))
        return await asyncio.shield(task)

    async def adopt(self, source: BinaryIO, pins: Pins) -> tuple[str, int, Path]:
        """Copy an open file, pinned: its digest, its size, where the copy is."""
        partial = self.directory / f"{uuid4().hex}.part"
        try:
            digest, size = await asyncio.to_thread(_copy, source, partial)
            pins.add(digest)
            target = self._path(digest)
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
        self._evict()
        return digest, size, target

    @contextlib.contextmanager
    def pinned(self) -> Iterator[Pins]:
        """Inside, what is pinned is not evicted."""
        pins = Pins(self._pins)
        try:
            yield pins
        finally:
            pins.release()
            self._evict()

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise Refused(f"not a digest: {digest[:200]!r}")
        return self.directory / digest.removeprefix("sha256:")

    async def _download(self, uri: str, digest: str) -> Path:
        path = self._path(digest)
        partial = self.directory / f"{uuid4().hex}.part"
        hashed = hashlib.sha256()
        try:
            with partial.open("wb") as file:
                async for chunk in self.blobs.stream(uri):
                    hashed.update(chunk)
                    file.write(chunk)
            came = f"sha256:{hashed.hexdigest()}"
            if came != digest:
                raise Refused(f"{uri}: expected digest {digest}, the content has {came}")
            partial.chmod(0o444)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
        self._evict()
        return path

    def _evict(self) -> None:
        entries = [(entry, entry.stat()) for entry in self.directory.iterdir()]
        total = sum(status.st_size for _, status in entries)
        for entry, status in sorted(entries, key=lambda pair: pair[1].st_mtime):
            if total <= self.limit:
                return
            if entry.name in self._pins or entry.suffix == ".part":
                continue
            entry.unlink(missing_ok=True)
            total -= status.st_size


class Pins:
    """Digests that one attempt uses."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._held: list[str] = []

    def add(self, digest: str) -> None:
        """Keep this blob until the attempt is over."""
        name = digest.removeprefix("sha256:")
        self._counts[name] = self._counts.get(name, 0) + 1
        self._held.append(name)

    def release(self) -> None:
        """Let go of all."""
        for name in self._held:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]
        self._held.clear()


def _copy(source: BinaryIO, target: Path) -> tuple[str, int]:
    """Digest and size of what was copied: no more than the file has now, should it grow."""
    hashed = hashlib.sha256()
    left = size = os.fstat(source.fileno()).st_size
    with target.open("xb") as file:
        while left and (chunk := source.read(min(left, _CHUNK))):
            hashed.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    target.chmod(0o444)
    return f"sha256:{hashed.hexdigest()}", size - left
