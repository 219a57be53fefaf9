"""Model files on the local disk, by the digest of their contents; nothing unverified is used."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from headrace.errors import Refused
from headrace.events import FileRef
from headrace.runtime.blobs import Blobs
from headrace.runtime.ids import new_id
from services.serving.domain import cache_key

_CHUNK: Final = 1024 * 1024
_LEASE_SECONDS: Final = 900.0
"""How long fetched files are safe: by then they are in use, or nobody wants them."""


class ArtifactCache:
    """Folders named by content below `directory`; a folder is complete or not there.

    Contents that nobody serves are kept up to `keep_bytes`, those that were fetched last: a
    version that comes back need not be fetched again.
    """

    def __init__(
        self,
        *,
        directory: Path,
        blobs: Blobs,
        keep_bytes: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._versions = directory / "versions"
        self._incoming = directory / "incoming"
        self._blobs = blobs
        self._keep_bytes = keep_bytes
        self._now = now
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fetch(self, needed: Sequence[FileRef]) -> Path:
        """Folder of these files, verified; fetched if they are not here or were damaged.

        Raises Refused when a digest or size differs, NotFound when a blob is missing, and the
        store's own errors when it is away.
        """
        key = cache_key(needed)
        folder = self._versions / key
        async with self._locks[key]:
            if not await asyncio.to_thread(_is_intact, folder, needed):
                await self._fetch_into(folder, needed)
            os.utime(folder, (self._now(), self._now()))
        return folder

    async def tidy(self, in_use: Collection[str]) -> None:
        """Remove contents that are not in use and were not fetched lately, the oldest first."""
        spare = await asyncio.to_thread(self._spare, frozenset(in_use))
        kept = 0
        for fetched_at, folder, size in sorted(spare, reverse=True):
            kept += size
            if kept > self._keep_bytes and fetched_at < self._now() - _LEASE_SECONDS:
                await self._remove(folder)

    def clear_incoming(self) -> None:
        """Remove what a process that died left half fetched; before anything is fetched."""
        shutil.rmtree(self._incoming, ignore_errors=True)

    def _spare(self, in_use: frozenset[str]) -> list[tuple[float, Path, int]]:
        """Contents that are not in use: when they were fetched, where they are, their bytes."""
        if not self._versions.exists():
            return []
        folders = [each for each in self._versions.iterdir() if each.name not in in_use]
        return [(each.stat().st_mtime, each, _size(each)) for each in folders]

    async def _remove(self, folder: Path) -> None:
        """Unless it was fetched again since it was found to be old."""
        async with self._locks[folder.name]:
            await asyncio.to_thread(_remove_old, folder, before=self._now() - _LEASE_SECONDS)

    async def _fetch_into(self, folder: Path, files: Sequence[FileRef]) -> None:
        incoming = self._incoming / new_id()
        try:
            for file in files:
                await self._fetch_file(file, incoming / file.path)
            await asyncio.to_thread(_put_in_place, incoming, folder)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    async def _fetch_file(self, file: FileRef, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        hashing = hashlib.sha256()
        size = 0
        with target.open("wb") as out:
            async for chunk in self._blobs.stream(file.uri):
                size += len(chunk)
                if size > file.size:
                    break
                hashing.update(chunk)
                out.write(chunk)
        if size != file.size:
            more = "at least " if size > file.size else ""
            raise Refused(f"{file.path}: expected {file.size} bytes, {file.uri} has {more}{size}")
        came = f"sha256:{hashing.hexdigest()}"
        if came != file.digest:
            raise Refused(f"{file.path}: expected digest {file.digest}, {file.uri} has {came}")


def _put_in_place(incoming: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    incoming.rename(folder)


def _remove_old(folder: Path, *, before: float) -> None:
    if folder.stat().st_mtime < before:
        shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _is_intact(folder: Path, files: Sequence[FileRef]) -> bool:
    return all(_digest(folder / file.path) == file.digest for file in files)


def _digest(path: Path) -> str | None:
    hashing = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashing.update(chunk)
    except OSError:
        return None
    return f"sha256:{hashing.hexdigest()}"
