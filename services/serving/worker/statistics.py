"""What a worker counted about each model version.

One set of numbers feeds the statistics call, Prometheus and people, so they cannot disagree.
The fields and their meanings follow Triton's statistics extension: requests count once in
`success` or `fail`; each request of an execution adds the whole execution's times; rows count in
`inferences`. Times are nanoseconds.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

from services.serving.worker.failure import Code

LATENCY_BOUNDS: Final = (
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0,
)  # fmt: skip
"""Upper bounds of the histogram of answered requests, in seconds."""
_NS_PER_MS: Final = 1_000_000
_BOUNDS_NS: Final = tuple(round(bound * 1e9) for bound in LATENCY_BOUNDS)


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
    """The counts of one model version. `last_inference_ms` is milliseconds since the epoch.

    `latencies` are the answered requests by LATENCY_BOUNDS, one more for those beyond; `busy_ns`
    is the time that executions took, each counted once.
    """

    name: str
    version: int
    last_inference_ms: int = 0
    inferences: int = 0
    executions: int = 0
    busy_ns: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    failures: Counter[Code] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """One run of a model that answered some requests, whose total times are `totals_ns`.

    `queue_ns` is how long they waited before it, together.
    """

    rows: int
    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int
    totals_ns: Sequence[int]


class Statistics:
    """Written by the threads that answer; read by whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[tuple[str, int], ModelStatistics] = {}
        self._unserved: Counter[Code] = Counter()

    def executed(self, name: str, version: int, execution: Execution) -> None:
        """A model ran once, and its requests are answered."""
        now_ms = time.time_ns() // _NS_PER_MS
        requests = len(execution.totals_ns)
        with self._lock:
            counted = self._of(name, version)
            counted.last_inference_ms = now_ms
            counted.inferences += execution.rows
            counted.executions += 1
            counted.busy_ns += execution.input_ns + execution.infer_ns + execution.output_ns
            counted.success.add(sum(execution.totals_ns), requests)
            counted.queue.add(execution.queue_ns, requests)
            counted.compute_input.add(execution.input_ns * requests, requests)
            counted.compute_infer.add(execution.infer_ns * requests, requests)
            counted.compute_output.add(execution.output_ns * requests, requests)
            for total_ns in execution.totals_ns:
                counted.latencies[bisect_left(_BOUNDS_NS, total_ns)] += 1
            batch = counted.batches.get(execution.rows)
            if batch is None:
                batch = counted.batches[execution.rows] = BatchStatistics()
            batch.compute_input.add(execution.input_ns)
            batch.compute_infer.add(execution.infer_ns)
            batch.compute_output.add(execution.output_ns)

    def failed(self, name: str, version: int, *, code: Code, total_ns: int) -> None:
        """A request ended with an error; the name is empty when no model was found for it."""
        with self._lock:
            if not name:
                self._unserved[code] += 1
                return
            counted = self._of(name, version)
            counted.fail.add(total_ns)
            counted.failures[code] += 1

    def of(self, names: Iterable[tuple[str, int]]) -> list[ModelStatistics]:
        """The counts of these versions, zeros for those that were never asked; a copy."""
        with self._lock:
            return [deepcopy(self._of(name, version)) for name, version in names]

    def all(self) -> list[ModelStatistics]:
        """The counts of every version that was asked; a copy."""
        with self._lock:
            return [deepcopy(counted) for counted in self._models.values()]

    def unserved(self) -> Mapping[Code, int]:
        """Requests for which no model was found, by their status."""
        with self._lock:
            return dict(self._unserved)

    def _of(self, name: str, version: int) -> ModelStatistics:
        counted = self._models.get((name, version))
        if counted is None:
            counted = ModelStatistics(name=name, version=version)
            self._models[name, version] = counted
        return counted
