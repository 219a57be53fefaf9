"""Rows of counts in a file that this process adds to and that others may read at any time.

The file outlives its worker, also one that is killed: the next worker of that place goes on with
it. It is a list of chunks: a mark, the bytes in use, and rows of a key and cells of 64 bits. A
row stays where it is, so that adding to a cell is all that counting costs. Readers see each cell
whole, but of a request that is counted just then perhaps some cells and not others.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Final, TypeAlias

_MARK: Final = b"hrcount1"
_HEAD: Final = Struct("<8sq")
_ROW: Final = Struct("<II")
_CHUNK: Final = 64 * 1024
_MOST_BYTES: Final = 16 * _CHUNK
"""A worker that finds more starts a new file: hundreds of versions were served and are gone."""
_CELL: Final = 8

Cells: TypeAlias = "memoryview[int]"


class Ledger:
    """The rows of one process. Without a file nobody else sees them."""

    def __init__(self, path: Path | None = None, file: int | None = None) -> None:
        """`file` is open, and locked as long as this lives. Its rows are found again."""
        self.path = path
        self._file = file
        self._chunks: list[mmap.mmap] = []
        self._rows: dict[str, Cells] = {}
        if file is not None:
            self._find(file)

    @classmethod
    def claim(cls, folder: Path, name: str) -> Ledger:
        """The one in `folder` that the last worker of this name left, or a new one.

        Where workers share a name, each gets one that no other has.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (folder / f"{name}.{number}" for number in range(1024)):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            return cls(path, file)
        raise OSError(f"all ledgers named {name} in {folder} are in use")

    def __iter__(self) -> Iterator[tuple[str, Cells]]:
        """All rows, with the cells that are added to."""
        return iter(list(self._rows.items()))

    def row(self, key: str, size: int) -> Cells:
        """The cells under a key, zeros if it is new."""
        cells = self._rows.get(key)
        if cells is None or len(cells) != size:
            cells = self._rows[key] = self._append(key.encode(), size)
        return cells

    def _append(self, key: bytes, size: int) -> Cells:
        start = _ROW.size + _padded(len(key))
        needed = start + size * _CELL
        if needed > _CHUNK - _HEAD.size:
            return memoryview(bytearray(size * _CELL)).cast("q")
        chunk = self._with_room(needed)
        used = _HEAD.unpack_from(chunk)[1]
        _ROW.pack_into(chunk, used, len(key), size)
        chunk[used + _ROW.size : used + _ROW.size + len(key)] = key
        # Only now may a reader find the row.
        _HEAD.pack_into(chunk, 0, _MARK, used + needed)
        return memoryview(chunk)[used + start : used + needed].cast("q")

    def _with_room(self, needed: int) -> mmap.mmap:
        if self._chunks:
            chunk = self._chunks[-1]
            if _HEAD.unpack_from(chunk)[1] + needed <= _CHUNK:
                return chunk
        chunk = self._new_chunk()
        _HEAD.pack_into(chunk, 0, _MARK, _HEAD.size)
        self._chunks.append(chunk)
        return chunk

    def _new_chunk(self) -> mmap.mmap:
        """On a full disk its counts are this process's alone."""
        if self._file is None:
            return mmap.mmap(-1, _CHUNK)
        end = os.fstat(self._file).st_size
        try:
            # Without room on the disk set aside, writing to the memory would kill the process.
            if os.pwrite(self._file, bytes(_CHUNK), end) < _CHUNK:
                os.ftruncate(self._file, end)
                return mmap.mmap(-1, _CHUNK)
            return mmap.mmap(self._file, _CHUNK, offset=end)
        except OSError:
            return mmap.mmap(-1, _CHUNK)

    def _find(self, file: int) -> None:
        size = os.fstat(file).st_size
        if size % _CHUNK or size > _MOST_BYTES:
            os.ftruncate(file, 0)
            return
        for offset in range(0, size, _CHUNK):
            chunk = mmap.mmap(file, _CHUNK, offset=offset)
            if chunk[: len(_MARK)] != _MARK:
                _HEAD.pack_into(chunk, 0, _MARK, _HEAD.size)
            self._chunks.append(chunk)
            for key, start, end in _rows_of(chunk):
                self._rows[key] = memoryview(chunk)[start:end].cast("q")


def read(path: Path) -> Iterator[tuple[str, Sequence[int]]]:
    """The rows of a ledger as they are now, whoever adds to it. Raises OSError."""
    data = path.read_bytes()
    for offset in range(0, len(data) - _CHUNK + 1, _CHUNK):
        chunk = data[offset : offset + _CHUNK]
        if chunk.startswith(_MARK):
            for key, start, end in _rows_of(chunk):
                yield key, memoryview(chunk)[start:end].cast("q")


def _rows_of(chunk: bytes | mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Keys and where their cells begin and end; up to what is no row."""
    at, used = _HEAD.size, min(_HEAD.unpack_from(chunk)[1], _CHUNK)
    while at + _ROW.size <= used:
        length, size = _ROW.unpack_from(chunk, at)
        start = at + _ROW.size + _padded(length)
        end = start + size * _CELL
        if end > used:
            return
        yield chunk[at + _ROW.size : at + _ROW.size + length].decode(errors="replace"), start, end
        at = end


def _padded(length: int) -> int:
    return -(-length // _CELL) * _CELL
