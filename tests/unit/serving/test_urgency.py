"""Threads that answer want short turns on the CPU; those beside them the usual ones."""

from __future__ import annotations

import ctypes
import os
import platform
import threading

import pytest

from services.serving.worker.fronts.urgency import urgent

_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
_SIZE = 48


def turn_ns() -> int:
    """How long a turn the calling thread asked for; 0 if it did not."""
    attributes = ctypes.create_string_buffer(_SIZE)
    number = _SCHED_GETATTR[platform.machine()]
    assert ctypes.CDLL(None).syscall(number, 0, attributes, _SIZE, 0) == 0
    return int.from_bytes(attributes.raw[24:32], "little")


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


@pytest.mark.skipif(
    platform.machine() not in _SCHED_GETATTR
    or os.uname().sysname != "Linux"
    or _release() < (6, 12),
    reason="needs Linux 6.12",
)
def test_threads_started_meanwhile_want_short_turns_and_no_others() -> None:
    usual, seen = turn_ns(), []
    with urgent():
        thread = threading.Thread(target=lambda: seen.append(turn_ns()))
        thread.start()
        thread.join()

    assert seen == [100_000]
    assert turn_ns() == usual != 100_000
