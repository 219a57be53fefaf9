"""What a worker counted about each model version.

One set of numbers feeds the statistics call, Prometheus and people, so they cannot disagree.
The fields and their meanings follow Triton's statistics extension: requests count once in
`success` or `fail`; each request of an execution adds the whole execution's times; rows count in
`inferences`. Times are nanoseconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

_NS_PER_MS: Final = 1_000_000


@dataclass(slots=True)
class Duration:
    """How often something took how long altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """`count` more, which took `ns` together."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchStatistics:
    """Executions of one number of rows."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True, kw_only=True)
class ModelStatistics:
    """The counts of one model version. `last_inference_ms` is milliseconds since the epoch."""

    name: str
    version: int
    last_inference_ms: int = 0
    inferences: int = 0
    executions: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """One run of a model over the rows of some requests."""

    requests: int
    rows: int
    input_ns: int
    infer_ns: int
    output_ns: int


class Statistics:
    """Written by the threads that answer; read by whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[tuple[str, int], ModelStatistics] = {}

    def executed(self, name: str, version: int, execution: Execution) -> None:
        """A model ran once."""
        now_ms = time.time_ns() // _NS_PER_MS
        requests = execution.requests
        with self._lock:
            counted = self._of(name, version)
            counted.last_inference_ms = now_ms
            counted.inferences += execution.rows
            counted.executions += 1
            counted.compute_input.add(execution.input_ns * requests, requests)
            counted.compute_infer.add(execution.infer_ns * requests, requests)
            counted.compute_output.add(execution.output_ns * requests, requests)
            batch = counted.batches.get(execution.rows)
            if batch is None:
                batch = counted.batches[execution.rows] = BatchStatistics()
            batch.compute_input.add(execution.input_ns)
            batch.compute_infer.add(execution.infer_ns)
            batch.compute_output.add(execution.output_ns)

    def succeeded(self, name: str, version: int, *, queue_ns: int, total_ns: int) -> None:
        """A request was answered, `queue_ns` of `total_ns` after it waited for its turn."""
        with self._lock:
            counted = self._of(name, version)
            counted.queue.add(queue_ns)
            counted.success.add(total_ns)

    def failed(self, name: str, version: int, *, total_ns: int) -> None:
        """A request for this version ended with an error."""
        with self._lock:
            self._of(name, version).fail.add(total_ns)

    def of(self, names: Iterable[tuple[str, int]]) -> list[ModelStatistics]:
        """The counts of these versions, zeros for those that were never asked; a copy."""
        with self._lock:
            return [deepcopy(self._of(name, version)) for name, version in names]

    def _of(self, name: str, version: int) -> ModelStatistics:
        counted = self._models.get((name, version))
        if counted is None:
            counted = ModelStatistics(name=name, version=version)
            self._models[name, version] = counted
        return counted
