"""The heap of a process whose models come and go."""

from __future__ import annotations

import ctypes
from typing import Final

_ARENA_MAX: Final = -8


def share_one_heap() -> None:
    """Let what one model gives back be room for the next, whichever threads load them.

    glibc has a heap for each of some threads, and what is free in one is of no use to others: with
    models loaded on 200 threads, memory grew to twice the budget. Heaps that are there stay, so it
    is to be called early; where there is another allocator, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
