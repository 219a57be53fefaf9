"""What a worker shows to Prometheus; series exist per model version, never per name that was asked.

The counts of inference are read from `Statistics` when somebody looks, under our names and under
Triton's (`nv_inference_*`), so that they are those of the statistics call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Protocol

from prometheus_client import Gauge
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from headrace.runtime.telemetry import Metrics
from services.serving.worker.failure import Code
from services.serving.worker.model import Model
from services.serving.worker.statistics import LATENCY_BOUNDS, Duration, ModelStatistics, Statistics

_LABELS: Final = ("model", "version")
_NS_PER_US: Final = 1000
_REASONS: Final = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
_Value = Callable[[ModelStatistics], float]


class Busy(Protocol):
    """A model version at work; a lane is one."""

    @property
    def model(self) -> Model: ...

    @property
    def waiting(self) -> int: ...

    @property
    def running(self) -> int: ...


class Meters:
    """Log losses and versions of this worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._champion = metrics.gauge("model_version", "Version that answers", "model")
        self._dropped: Gauge = metrics.gauge(
            "prediction_log_dropped_rows", "Rows lost before publication since the worker began"
        )
        self._sampled_out = metrics.gauge(
            "prediction_log_sampled_out_rows", "Rows left out by rule since the worker began"
        )
        self._held = metrics.gauge("prediction_log_held_rows", "Rows not published yet")
        self._logged = metrics.gauge("prediction_log_rows", "Rows published since the worker began")

    def champion(self, model: str, version: int) -> None:
        """Another version answers by default now."""
        self._champion.labels(model).set(version)

    def log(self, *, dropped: int, held: int, logged: int, sampled_out: int = 0) -> None:
        """State of the prediction log."""
        self._sampled_out.set(sampled_out)
        self._dropped.set(dropped)
        self._held.set(held)
        self._logged.set(logged)


class StatisticsCollector(Collector):
    """The counts of inference, for a registry of Prometheus."""

    def __init__(self, statistics: Statistics, busy: Callable[[], Sequence[Busy]]) -> None:
        self._statistics = statistics
        self._busy = busy

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        models = self._statistics.all()
        for name, text, value in _COUNTERS:
            family = CounterMetricFamily(name, text, labels=_LABELS)
            for counted in models:
                family.add_metric(_labels(counted), value(counted))
            yield family
        for name, text, value in _TRITONS:
            exact = _Exactly(name, text)
            for counted in models:
                exact.add(_labels(counted), value(counted))
            yield exact
        yield _seconds(models)
        yield self._failures(models)
        yield _failures_by_reason(models)
        yield from self._present()

    def _failures(self, models: Sequence[ModelStatistics]) -> Metric:
        family = CounterMetricFamily(
            "inference_failures", "Refused requests", labels=("model", "version", "code")
        )
        for counted in models:
            for code, count in counted.failures.items():
                family.add_metric((*_labels(counted), code.name), count)
        for code, count in self._statistics.unserved().items():
            family.add_metric(("", "", code.name), count)
        return family

    def _present(self) -> Iterator[Metric]:
        busy = self._busy()
        gauges: tuple[tuple[str, str, Callable[[Busy], int]], ...] = (
            ("inference_queue_depth", "Requests that wait for a run", lambda one: one.waiting),
            ("inference_in_flight", "Requests whose run is under way", lambda one: one.running),
            (
                "nv_inference_pending_request_count",
                "Requests that wait for a run",
                lambda one: one.waiting,
            ),
        )
        for name, text, value in gauges:
            family = GaugeMetricFamily(name, text, labels=_LABELS)
            for one in busy:
                family.add_metric((one.model.name, one.model.version_text), value(one))
            yield family


class _Type(str):
    """A type written as it is: the library adds `_total` to the names of what equals "counter"."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class _Exactly(Metric):
    """A counter whose series have the name that it is given, as Triton writes its own."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text, "counter")
        self.type = _Type("counter")

    def add(self, labels: tuple[str, str], value: float, **more: str) -> None:
        """One more series."""
        self.add_sample(self.name, dict(zip(_LABELS, labels, strict=True)) | more, value)


def reason(code: Code) -> str:
    """Triton's word for why a request failed."""
    match code:
        case Code.RESOURCE_EXHAUSTED | Code.DEADLINE_EXCEEDED | Code.UNAVAILABLE:
            return "REJECTED"
        case Code.CANCELLED:
            return "CANCELED"
        case Code.INTERNAL:
            return "BACKEND"
        case _:
            return "OTHER"


def _labels(counted: ModelStatistics) -> tuple[str, str]:
    return counted.name, str(counted.version)


def _seconds(models: Sequence[ModelStatistics]) -> Metric:
    family = HistogramMetricFamily(
        "inference_seconds",
        "From a request's arrival to its answer, without transport",
        labels=_LABELS,
    )
    bounds = [*map(str, LATENCY_BOUNDS), "+Inf"]
    for counted in models:
        buckets = list(zip(bounds, accumulate(counted.latencies), strict=True))
        family.add_metric(_labels(counted), buckets, sum_value=counted.success.ns / 1e9)
    return family


def _failures_by_reason(models: Sequence[ModelStatistics]) -> Metric:
    family = _Exactly("nv_inference_request_failure", "Failed requests")
    for counted in models:
        for why in _REASONS:
            count = sum(n for code, n in counted.failures.items() if reason(code) == why)
            family.add(_labels(counted), count, reason=why)
    return family


def _microseconds(field: str) -> _Value:
    def value(counted: ModelStatistics) -> float:
        duration: Duration = getattr(counted, field)
        return duration.ns // _NS_PER_US

    return value


_COUNTERS: Final[tuple[tuple[str, str, _Value], ...]] = (
    ("inference_requests", "Answered requests", lambda m: m.success.count),
    ("inference_rows", "Answered rows", lambda m: m.inferences),
    ("inference_runs", "Runs of the model, each of one or more requests", lambda m: m.executions),
    (
        "inference_busy_seconds",
        "Time in runs of the model; its rate is the busy fraction",
        lambda m: m.busy_ns / 1e9,
    ),
)
_TRITONS: Final[tuple[tuple[str, str, _Value], ...]] = (
    ("nv_inference_request_success", "Answered requests", lambda m: m.success.count),
    ("nv_inference_count", "Answered rows", lambda m: m.inferences),
    ("nv_inference_exec_count", "Runs of the model", lambda m: m.executions),
    *(
        (f"nv_inference_{name}_duration_us", text, _microseconds(field))
        for name, text, field in (
            ("request", "From arrival to answer", "success"),
            ("queue", "Waited for a run", "queue"),
            ("compute_input", "Putting inputs together", "compute_input"),
            ("compute_infer", "Running the model", "compute_infer"),
            ("compute_output", "Writing answers", "compute_output"),
        )
    ),
)
