"""What a worker takes over from a step, which may hand it anything."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any, cast

import pytest

from headrace.errors import Refused
from services.orchestrator.worker.cache import BlobCache
from services.orchestrator.worker.outputs import opened_output, tail


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch" / "outputs").mkdir(parents=True)
    return tmp_path / "scratch"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("secret")
    path.chmod(0o640)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(directory=tmp_path / "cache", blobs=cast("Any", None), limit=1 << 20)


def adopted(cache: BlobCache, scratch: Path, file: object) -> tuple[str, int, Path]:
    with opened_output(scratch, "result", file) as source, cache.pinned() as pins:
        return asyncio.run(cache.adopt(source, pins))


def test_a_file_in_the_outputs_directory_is_copied_by_its_digest(
    cache: BlobCache, scratch: Path
) -> None:
    (scratch / "outputs" / "result").write_bytes(b"content")
    digest, size, path = adopted(cache, scratch, "result")
    assert (digest, size) == (f"sha256:{hashlib.sha256(b'content').hexdigest()}", 7)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"content", 0o444)
    (scratch / "outputs" / "result").write_bytes(b"changed")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(
    "way", ["symlink", "hard link", "directory", "fifo", "linked directory", "missing"]
)
def test_what_is_not_a_file_of_the_step_s_own_is_refused(
    cache: BlobCache, scratch: Path, secret: Path, way: str
) -> None:
    result = scratch / "outputs" / "result"
    if way == "symlink":
        result.symlink_to(secret)
    elif way == "hard link":
        result.hardlink_to(secret)
    elif way == "directory":
        result.mkdir()
    elif way == "fifo":
        os.mkfifo(result)
    elif way == "linked directory":
        result.parent.rmdir()
        result.parent.symlink_to(secret.parent)
        secret.rename(secret.parent / "result")
        secret = secret.parent / "result"
    with pytest.raises(Refused, match="output result"):
        adopted(cache, scratch, "result")
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("secret", 0o640)
    assert not list(cache.directory.iterdir())


@pytest.mark.parametrize("name", ["../../secret", "a/b", "", ".", "..", "a\0b", "x" * 300, 7, {}])
def test_only_a_plain_file_name_is_accepted(
    cache: BlobCache, scratch: Path, secret: Path, name: object
) -> None:
    for file in (name, str(secret)):
        with pytest.raises(Refused, match="output result"):
            adopted(cache, scratch, file)
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("secret", 0o640)


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_a_digest_that_is_a_path_is_refused(cache: BlobCache, secret: Path, prefix: str) -> None:
    before = secret.stat().st_mtime_ns
    for path in (str(secret), "../secret"):
        with pytest.raises(Refused, match="digest"):
            asyncio.run(cache.fetch("s3://bucket/key", prefix + path))
    assert secret.stat().st_mtime_ns == before


def test_the_tail_of_a_log_is_read_from_the_log_only(scratch: Path, secret: Path) -> None:
    log = scratch / "output.log"
    log.write_text("a" * 9000 + "end")
    assert tail(scratch) == ("a" * 9000 + "end")[-4000:]
    log.unlink()
    assert tail(scratch) == ""
    log.symlink_to(secret)
    assert tail(scratch) == ""
    log.unlink()
    os.mkfifo(log)
    assert tail(scratch) == ""
