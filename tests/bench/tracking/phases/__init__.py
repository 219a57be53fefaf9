"""Every phase by its name, in the order of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tests.bench.tracking.phases import (
    charts,
    intake,
    live,
    reads,
    resent,
    search,
    start,
    storage,
    traces,
    writes,
)
from tests.bench.tracking.rig import Rig

PHASES: Final[Mapping[str, Callable[[Rig], None]]] = MappingProxyType(
    {
        "start": start.start,
        "batch": writes.batches,
        "metric": writes.single_metrics,
        "create": writes.created_runs,
        "resent": resent.resent,
        "history": reads.history,
        "run": reads.run_of_many_metrics,
        "search": search.search,
        "live": live.live,
        "traces": traces.traces,
        "storage": storage.storage,
        "intake": intake.intake,
        "chart": charts.chart,
    }
)
