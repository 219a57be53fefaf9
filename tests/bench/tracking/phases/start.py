"""How soon a server answers whose database is empty."""

from __future__ import annotations

import statistics
import time
from typing import Final

from tests.bench.tracking.figures import Goal
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import prepared_ours

_STARTS: Final = 3
_GOAL: Final = Goal(better="less", must=2.0)


def start(rig: Rig) -> None:
    """From the start of the process until it says that it is ready; the median of some."""
    seconds, spent = [], []
    # They would be one static member of one Kafka group, and fence each other.
    rig.ours.process.stop()
    for _ in range(_STARTS):
        rig.settle()
        with prepared_ours(rig.stack, empty=True) as ours:
            began = time.monotonic()
            ours.process.start(seconds=60)
            seconds.append(time.monotonic() - began)
            spent.append(ours.roots.spent().service)
    rig.ours.process.start(seconds=60)
    peer = None if rig.peer is None else rig.peer.cold_seconds
    rig.row("cold start, empty database", "s", statistics.median(seconds), peer, goal=_GOAL)
    rig.row("cold start, CPU of the service", "s", statistics.median(spent))
