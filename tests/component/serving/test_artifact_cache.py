"""Model files on the disk: fetched once, verified, and few beside those in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from deploy.local import Backends, provision
from headrace.errors import Refused
from headrace.events import FileRef
from headrace.runtime.blobs import Blobs
from services.serving.control.artifacts import ArtifactCache

_HOUR = 3600.0


@dataclass(kw_only=True)
class Disk:
    """A cache that keeps 25 bytes beside what is in use, whose clock the test moves."""

    directory: Path
    blobs: Blobs
    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.cache = ArtifactCache(
            directory=self.directory, blobs=self.blobs, keep_bytes=25, now=lambda: self.now
        )

    async def version(self, content: bytes) -> list[FileRef]:
        ref = await self.blobs.put(f"cache/{uuid4().hex}", content)
        return [FileRef(path="model.onnx", uri=ref.uri, digest=ref.digest, size=ref.size)]

    def contents(self) -> set[bytes]:
        return {path.read_bytes() for path in self.directory.rglob("model.onnx")}


@pytest_asyncio.fixture
async def disk(backends: Backends, tmp_path: Path) -> AsyncIterator[Disk]:
    bucket = f"cache-{uuid4().hex[:12]}"
    await asyncio.to_thread(provision.bucket, backends, bucket)
    async with Blobs.open(
        endpoint=backends.s3_endpoint,
        bucket=bucket,
        access_key=backends.s3_access_key,
        secret_key=backends.s3_secret_key,
    ) as blobs:
        yield Disk(directory=tmp_path, blobs=blobs)


async def test_contents_that_are_here_are_not_fetched_again(disk: Disk) -> None:
    files = await disk.version(b"1" * 10)
    first = await disk.cache.fetch(files)
    gone = [files[0].model_copy(update={"uri": files[0].uri + "-gone"})]
    assert await disk.cache.fetch(gone) == first


async def test_damaged_contents_are_fetched_again(disk: Disk) -> None:
    files = await disk.version(b"1" * 10)
    folder = await disk.cache.fetch(files)
    (folder / "model.onnx").write_bytes(b"2" * 10)
    await disk.cache.fetch(files)
    assert (folder / "model.onnx").read_bytes() == b"1" * 10


async def test_contents_that_are_not_what_was_registered_are_refused(disk: Disk) -> None:
    files = await disk.version(b"1" * 10)
    other = await disk.version(b"2" * 10)
    with pytest.raises(Refused, match="expected digest"):
        await disk.cache.fetch([files[0].model_copy(update={"uri": other[0].uri})])
    assert disk.contents() == set()


async def test_contents_fetched_longest_ago_go_first(disk: Disk) -> None:
    versions = [await disk.version(bytes([digit]) * 10) for digit in b"1234"]
    for files in (*versions, versions[0]):
        await disk.cache.fetch(files)
        disk.now += _HOUR
    await disk.cache.tidy(set())
    assert disk.contents() == {b"1" * 10, b"4" * 10}


async def test_contents_in_use_stay_and_are_not_counted(disk: Disk) -> None:
    versions = [await disk.version(bytes([digit]) * 10) for digit in b"1234"]
    folders = [await disk.cache.fetch(files) for files in versions]
    disk.now += _HOUR
    await disk.cache.tidy({folder.name for folder in folders[:2]})
    assert disk.contents() == {bytes([digit]) * 10 for digit in b"1234"}


async def test_contents_that_were_just_fetched_stay(disk: Disk) -> None:
    for digit in b"1234":
        await disk.cache.fetch(await disk.version(bytes([digit]) * 10))
    await disk.cache.tidy(set())
    assert len(disk.contents()) == 4
