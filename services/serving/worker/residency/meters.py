"""What a worker shows to Prometheus of the memory of its models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.serving.worker.residency.residency import Residency


class ResidencyCollector(Collector):
    """Nothing where there is no budget: then nothing is counted either."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        if not self._residency.budget:
            return
        counts = self._residency.counts
        for name, text, gauge in (
            ("model_memory_bytes", "Measured memory of the loaded models", self._residency.used),
            ("model_memory_budget_bytes", "What they may take together", self._residency.budget),
            ("models_in_memory", "Loaded model versions", self._residency.here),
        ):
            yield GaugeMetricFamily(name, text, value=gauge)
        for name, text, count in (
            ("model_loads", "Models brought into memory", counts.loads),
            ("model_load_failures", "Models that could not be loaded again", counts.failures),
            ("model_evictions", "Models that made room for others", counts.evictions),
            ("model_load_seconds", "Time that the loads took together", counts.seconds),
        ):
            yield CounterMetricFamily(name, text, value=count)
