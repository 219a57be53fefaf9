"""What shadows could not keep up with, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from services.serving.worker.routing.shadows import Shadows


class ShadowCollector(Collector):
    """The counts of `ShadowCompared`, also while there is nothing to compare."""

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "shadow_dropped_requests",
            "Requests that shadows did not predict, or whose comparisons did not leave, for load",
            value=self._shadows.dropped,
        )
        yield CounterMetricFamily(
            "shadow_failed_requests", "Requests that shadows failed on", value=self._shadows.failed
        )
