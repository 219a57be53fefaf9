"""The counts of a model version, as cells that are added to and as a copy to look at.

The fields and their meanings follow Triton's statistics extension: requests count once in
`success` or `fail`; each request of an execution adds the whole execution's times; rows count in
`inferences`. Times are nanoseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from services.serving.worker.failure import Code

LATENCY_BOUNDS: Final = (
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0,
)  # fmt: skip
"""Upper bounds of the histogram of answered requests, in seconds."""

(
    LAST_MS, INFERENCES, EXECUTIONS, BUSY_NS, SUCCESS, SUCCESS_NS, FAIL, FAIL_NS,
    QUEUE_NS, INPUT_NS, INFER_NS, OUTPUT_NS, LATENCIES,
) = range(13)  # fmt: skip
"""Cells of a version; from LATENCIES one for each bound and one for those beyond, then failures."""
FAILURES: Final = LATENCIES + len(LATENCY_BOUNDS) + 1
CODES: Final = tuple(Code)
VERSION_CELLS: Final = FAILURES + len(CODES)
CODE_CELL: Final = {code: FAILURES + place for place, code in enumerate(CODES)}

BATCH_RUNS, BATCH_INPUT_NS, BATCH_INFER_NS, BATCH_OUTPUT_NS = range(4)
"""Cells of the executions of one number of rows."""
BATCH_CELLS: Final = 4


@dataclass(slots=True)
class Duration:
    """How often something took how long altogether."""

    count: int = 0
    ns: int = 0

    def add(self, other: Duration) -> None:
        self.count += other.count
        self.ns += other.ns


@dataclass(slots=True)
class BatchStatistics:
    """Executions of one number of rows."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    @classmethod
    def of(cls, cells: Sequence[int]) -> BatchStatistics:
        runs = cells[BATCH_RUNS]
        return cls(
            compute_input=Duration(runs, cells[BATCH_INPUT_NS]),
            compute_infer=Duration(runs, cells[BATCH_INFER_NS]),
            compute_output=Duration(runs, cells[BATCH_OUTPUT_NS]),
        )

    def add(self, other: BatchStatistics) -> None:
        self.compute_input.add(other.compute_input)
        self.compute_infer.add(other.compute_infer)
        self.compute_output.add(other.compute_output)


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

    def add_cells(self, cells: Sequence[int]) -> None:
        """What another worker counted of it, batches apart."""
        self.last_inference_ms = max(self.last_inference_ms, cells[LAST_MS])
        self.inferences += cells[INFERENCES]
        self.executions += cells[EXECUTIONS]
        self.busy_ns += cells[BUSY_NS]
        answered = cells[SUCCESS]
        self.fail.add(Duration(cells[FAIL], cells[FAIL_NS]))
        for duration, ns in (
            (self.success, SUCCESS_NS),
            (self.queue, QUEUE_NS),
            (self.compute_input, INPUT_NS),
            (self.compute_infer, INFER_NS),
            (self.compute_output, OUTPUT_NS),
        ):
            duration.add(Duration(answered, cells[ns]))
        for place, count in enumerate(cells[LATENCIES:FAILURES]):
            self.latencies[place] += count
        self.failures += failures_of(cells[FAILURES:])

    def add_batch(self, rows: int, cells: Sequence[int]) -> None:
        """What another worker counted of its executions of so many rows."""
        self.batches.setdefault(rows, BatchStatistics()).add(BatchStatistics.of(cells))


def failures_of(cells: Sequence[int]) -> Counter[Code]:
    """Requests that failed, by status."""
    return Counter({code: count for code, count in zip(CODES, cells, strict=True) if count})
