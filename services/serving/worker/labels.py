"""What a model calls its classes: in `labels.txt` beside it, or in its ONNX graph.

The graph is walked where it lies, field by field: weights are stepped over, never read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from services.serving.domain.formats import Format

LABELS_FILE: Final = "labels.txt"
"""Triton's usual name: a class a line."""
_MOST_BYTES: Final = 16 * 1024 * 1024
_GRAPH: Final = 7
_NODE: Final = 1
_ATTRIBUTE: Final = 5
_ATTRIBUTE_NAME: Final = 1
_INTS: Final = 8
_STRINGS: Final = 9
_NAMES: Final = frozenset({b"classlabels_strings", b"classlabels_int64s", b"classlabels_ints"})
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Field = tuple[int, int, int, int]
"""Number, wire type, start and end; of a varint the start is its value."""


def labels_of(path: Path, kind: Format) -> tuple[str, ...]:
    """The classes of a model file in their order; none where nothing says them."""
    beside = path.with_name(LABELS_FILE)
    if beside.is_file() and beside.stat().st_size <= _MOST_BYTES:
        return tuple(beside.read_text(errors="replace").splitlines())
    if kind is not Format.ONNX or not path.stat().st_size:
        return ()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _of_graph(data)
        except (ValueError, IndexError):
            return ()


def _of_graph(data: mmap.mmap) -> tuple[str, ...]:
    """Of the last node that has some: what comes before it may be features."""
    found: tuple[str, ...] = ()
    for graph in _inside(data, (0, len(data)), _GRAPH):
        for node in _inside(data, graph, _NODE):
            for attribute in _inside(data, node, _ATTRIBUTE):
                found = _of_attribute(data, attribute) or found
    return found


def _of_attribute(data: mmap.mmap, place: tuple[int, int]) -> tuple[str, ...]:
    names = [data[start:end] for start, end in _inside(data, place, _ATTRIBUTE_NAME)]
    if not _NAMES.intersection(names):
        return ()
    labels = []
    for number, wire, start, end in _fields(data, *place):
        if number == _STRINGS and wire == _BYTES:
            labels.append(data[start:end].decode(errors="replace"))
        elif number == _INTS and wire == _VARINT:
            labels.append(str(_signed(start)))
        elif number == _INTS and wire == _BYTES:
            labels += [str(_signed(value)) for value in _packed(data, start, end)]
    return tuple(labels)


def _inside(data: mmap.mmap, place: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    for number, wire, start, end in _fields(data, *place):
        if number == wanted and wire == _BYTES:
            yield start, end


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[_Field]:
    """The fields of a message. Raises ValueError where there is none."""
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value, at
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > end:
            raise ValueError("a field ends beyond its message")
        yield number, wire, at, at + size
        at += size


def _packed(data: mmap.mmap, at: int, end: int) -> Iterator[int]:
    while at < end:
        value, at = _varint(data, at)
        yield value


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a varint of more than ten bytes")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
