"""Named points at which a process can be told to die at once, as kill -9 would end it.

`HEADRACE_CRASH_AT=before_commit:3` ends the process at the third passage of that point. Without
the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from itertools import count
from typing import Final, Literal

Point = Literal["before_commit", "after_commit", "before_publish", "after_publish"]
"""Commit: of a consumed batch. Publish: of a batch that the relay has written down."""

_POINT, _, _PASSAGE = os.environ.get("HEADRACE_CRASH_AT", "").partition(":")
_FATAL: Final = int(_PASSAGE or 1)
_PASSAGES: Final = count(1)


def reach(point: Point) -> None:
    """Die here if the environment says so."""
    if point == _POINT and next(_PASSAGES) == _FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
