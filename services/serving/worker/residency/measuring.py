"""How much memory a model takes, found out in a process of its own.

What counts is anonymous resident memory: pages of files are shared between models and dropped
when they are not used. What a load leaves behind counts, since it does so in a worker as well. One
copy of a small model says little, for it may fit into holes that others left: the mean of some is
told.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_COPIES: Final = 4
_ENOUGH_BYTES: Final = 32 * 1024 * 1024
_KIBIBYTE: Final = 1024
_PROC: Final = Path("/proc")


def size_of(load: Callable[[], object]) -> int:
    """Bytes that one more of what `load` makes takes, its child processes included.

    To be called while one is held: with the first one its engine comes into memory too, which
    others share. Raises what `load` raises.
    """
    _give_back()
    before = _used_bytes()
    made: list[object] = []
    taken = 0
    while len(made) < _COPIES and taken < _ENOUGH_BYTES:
        made.append(load())
        taken = _used_bytes() - before
    return max(taken // len(made), 0)


def _give_back() -> None:
    """What was only needed to get here, to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _used_bytes() -> int:
    return sum(_anonymous_bytes(process) for process in _family())


def _family() -> list[Path]:
    """Our own process and those that it started."""
    own = os.getpid()
    processes = [each for each in _PROC.iterdir() if each.name.isdigit()]
    return [each for each in processes if own in (int(each.name), _number(each, "PPid"))]


def _anonymous_bytes(process: Path) -> int:
    return _number(process, "RssAnon") * _KIBIBYTE


def _number(process: Path, field: str) -> int:
    """A number of /proc/<pid>/status; 0 for a process that has ended."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0
    found = next((line for line in lines if line.startswith(f"{field}:")), None)
    return int(found.split()[1]) if found else 0
