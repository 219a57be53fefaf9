"""The framing of a `.wandb` file: a log of records in blocks, as LevelDB has it.

A header of 7 bytes, then blocks of 32 KiB (the header counts to the first). A piece of a record
is a checksum (CRC-32 of type and data), a length, a type (1 whole, 2 first, 3 middle, 4 last) and
data; where fewer than 7 bytes are left in a block, zeros fill it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from headrace.cli.imports.sources import Unreadable

HEADER: Final = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
BLOCK: Final = 32 * 1024
_PIECE: Final = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(file: Path) -> Iterator[bytes]:
    """The records, as far as they were written: a record that was cut off at the end is left out.

    Raises Unreadable for another kind of file, and for damage before the last block.
    """
    with file.open("rb") as opened:
        if opened.read(len(HEADER)) != HEADER:
            raise Unreadable(f"{file.name} is not a file of W&B, or of a version that is not known")
        held: list[bytes] | None = None
        for kind, data in _pieces(opened, file):
            if kind == _WHOLE:
                yield data
            elif kind == _FIRST:
                held = [data]
            elif held is not None:
                held.append(data)
                if kind == _LAST:
                    yield b"".join(held)
                    held = None


def _pieces(opened: BinaryIO, file: Path) -> Iterator[tuple[int, bytes]]:
    start = len(HEADER)
    number = 0
    while block := opened.read(BLOCK - start):
        place = 0
        while place + _PIECE.size <= len(block):
            checksum, length, kind = _PIECE.unpack_from(block, place)
            end = place + _PIECE.size + length
            data = block[place + _PIECE.size : end]
            whole = len(data) == length and kind in (_WHOLE, _FIRST, _MIDDLE, _LAST)
            if not whole or zlib.crc32(bytes((kind,)) + data) != checksum:
                if not opened.read(1):
                    return
                raise Unreadable(f"{file.name} is damaged at byte {number * BLOCK + start + place}")
            yield kind, data
            place = end
        start = 0
        number += 1
