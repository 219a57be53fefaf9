"""What a worker counts; series exist per model version, never per name that a client sent."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.telemetry import Metrics
from services.serving.worker.failure import Code

_BUCKETS = (
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMeters:
    """The series of one model version, looked up once."""

    requests: Counter
    rows: Counter
    seconds: Histogram


class Meters:
    """Requests, failures, latency, rows, log losses and versions of this worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.counter(
            "inference_requests", "Answered requests", "model", "version"
        )
        self._rows = metrics.counter("inference_rows", "Answered rows", "model", "version")
        self._seconds = Histogram(
            "inference_seconds",
            "From the request's bytes to the answer's, without transport",
            ("model", "version"),
            buckets=_BUCKETS,
            registry=metrics.registry,
        )
        self._failures = metrics.counter("inference_failures", "Refused requests", "model", "code")
        self._champion = metrics.gauge("model_version", "Version that answers", "model")
        self._dropped: Gauge = metrics.gauge(
            "prediction_log_dropped_rows", "Rows lost before publication since the worker began"
        )
        self._sampled_out = metrics.gauge(
            "prediction_log_sampled_out_rows", "Rows left out by rule since the worker began"
        )
        self._held = metrics.gauge("prediction_log_held_rows", "Rows not published yet")
        self._logged = metrics.gauge("prediction_log_rows", "Rows published since the worker began")

    def of(self, model: str, version: int) -> ModelMeters:
        """The series of one model version."""
        labels = (model, str(version))
        return ModelMeters(
            requests=self._requests.labels(*labels),
            rows=self._rows.labels(*labels),
            seconds=self._seconds.labels(*labels),
        )

    def failed(self, model: str, code: Code) -> None:
        """A request ended with a status; `model` is empty when it is not served here."""
        self._failures.labels(model, code.name).inc()

    def champion(self, model: str, version: int) -> None:
        """Another version answers by default now."""
        self._champion.labels(model).set(version)

    def log(self, *, dropped: int, held: int, logged: int, sampled_out: int = 0) -> None:
        """State of the prediction log."""
        self._sampled_out.set(sampled_out)
        self._dropped.set(dropped)
        self._held.set(held)
        self._logged.set(logged)
