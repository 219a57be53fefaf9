"""Processor time and memory of whole process trees, from /proc."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """Seconds of processor time: the server that is measured, its database, its broker."""

    service: float = 0.0
    postgres: float = 0.0
    kafka: float = 0.0

    @property
    def total(self) -> float:
        return self.service + self.postgres + self.kafka

    def __add__(self, other: Self) -> Cpu:
        return Cpu(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Cpu)})

    def __sub__(self, other: Self) -> Cpu:
        return Cpu(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Cpu)})


@dataclass(frozen=True, kw_only=True)
class Roots:
    """The first process of each tree that takes part; None where a server has no such part."""

    service: int
    postgres: int
    kafka: int | None = None

    def spent(self) -> Cpu:
        """Spent so far, by processes that ended included."""
        children = _children()
        return Cpu(
            service=_spent(self.service, children),
            postgres=_spent(self.postgres, children),
            kafka=0.0 if self.kafka is None else _spent(self.kafka, children),
        )


@dataclass(kw_only=True)
class Memory:
    """The most that a tree held at once, in bytes."""

    most: int = 0


@contextlib.contextmanager
def watching_memory(root: int) -> Iterator[Memory]:
    """Looks at the resident size of a tree until the block ends."""
    memory, ending = Memory(), threading.Event()

    def look() -> None:
        while not ending.wait(_LOOK_SECONDS):
            memory.most = max(memory.most, resident(root))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ending.set()
        thread.join()


def resident(root: int) -> int:
    """Bytes that a tree holds now; pages that its processes share count for each."""
    return sum(_resident(pid) for pid in _tree(root, _children()))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _spent(root: int, children: Mapping[int, Sequence[int]]) -> float:
    return sum(_ticks(pid) for pid in _tree(root, children)) * _TICK


def _ticks(pid: int) -> int:
    """Of a process in both modes, and of those of its children that ended."""
    stat = _stat(pid)
    return 0 if stat is None else sum(map(int, stat[11:15]))


def _tree(root: int, children: Mapping[int, Sequence[int]]) -> Iterator[int]:
    yield root
    for child in children.get(root, ()):
        yield from _tree(child, children)


def _children() -> Mapping[int, Sequence[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and (stat := _stat(int(path.name))) is not None:
            found[int(stat[1])].append(int(path.name))
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields after the name, which may hold spaces: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
