"""Counting what the threads of one worker answer."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.serving.worker.failure import Code
from services.serving.worker.statistics.counts import (
    BATCH_CELLS,
    BATCH_INFER_NS,
    BATCH_INPUT_NS,
    BATCH_OUTPUT_NS,
    BATCH_RUNS,
    BUSY_NS,
    CODE_CELL,
    CODES,
    EXECUTIONS,
    FAIL,
    FAIL_NS,
    INFER_NS,
    INFERENCES,
    INPUT_NS,
    LAST_MS,
    LATENCIES,
    LATENCY_BOUNDS,
    OUTPUT_NS,
    QUEUE_NS,
    SUCCESS,
    SUCCESS_NS,
    VERSION_CELLS,
    ModelStatistics,
    failures_of,
)
from services.serving.worker.statistics.ledger import Cells, Ledger
from services.serving.worker.statistics.rows import UNSERVED, add_rows, key_of

_NS_PER_MS: Final = 1_000_000
_BOUNDS_NS: Final = tuple(round(bound * 1e9) for bound in LATENCY_BOUNDS)
_UNSERVED_CELL: Final = {code: place for place, code in enumerate(CODES)}


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


@dataclass(frozen=True, slots=True)
class _Version:
    cells: Cells
    batches: dict[int, Cells] = field(default_factory=dict)


class Statistics:
    """Written by the threads that answer; read by whoever asks."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        """What the ledger has already is counted on."""
        self._lock = threading.Lock()
        self._ledger = ledger or Ledger()
        self._versions: dict[tuple[str, int], _Version] = {}
        self._unserved = self._ledger.row(UNSERVED, len(CODES))

    def executed(self, name: str, version: int, execution: Execution) -> None:
        """A model ran once, and its requests are answered."""
        now_ms = time.time_ns() // _NS_PER_MS
        totals = execution.totals_ns
        requests = len(totals)
        into, infer, out = execution.input_ns, execution.infer_ns, execution.output_ns
        with self._lock:
            counted = self._versions.get((name, version)) or self._open(name, version)
            cells = counted.cells
            cells[LAST_MS] = now_ms
            cells[INFERENCES] += execution.rows
            cells[EXECUTIONS] += 1
            cells[BUSY_NS] += into + infer + out
            cells[SUCCESS] += requests
            cells[SUCCESS_NS] += sum(totals)
            cells[QUEUE_NS] += execution.queue_ns
            cells[INPUT_NS] += into * requests
            cells[INFER_NS] += infer * requests
            cells[OUTPUT_NS] += out * requests
            for total_ns in totals:
                cells[LATENCIES + bisect_left(_BOUNDS_NS, total_ns)] += 1
            batch = counted.batches.get(execution.rows)
            if batch is None:
                batch = counted.batches[execution.rows] = self._ledger.row(
                    key_of(name, version, execution.rows), BATCH_CELLS
                )
            batch[BATCH_RUNS] += 1
            batch[BATCH_INPUT_NS] += into
            batch[BATCH_INFER_NS] += infer
            batch[BATCH_OUTPUT_NS] += out

    def failed(self, name: str, version: int, *, code: Code, total_ns: int) -> None:
        """A request ended with an error; the name is empty when no model was found for it."""
        with self._lock:
            if not name:
                self._unserved[_UNSERVED_CELL[code]] += 1
                return
            cells = (self._versions.get((name, version)) or self._open(name, version)).cells
            cells[FAIL] += 1
            cells[FAIL_NS] += total_ns
            cells[CODE_CELL[code]] += 1

    def of(self, names: Iterable[tuple[str, int]]) -> list[ModelStatistics]:
        """The counts of these versions, zeros for those that were never asked; a copy."""
        known = self._copy()
        return [
            known.get((name, version)) or ModelStatistics(name=name, version=version)
            for name, version in names
        ]

    def all(self) -> list[ModelStatistics]:
        """The counts of every version that was asked; a copy."""
        return list(self._copy().values())

    def add_to(self, known: dict[tuple[str, int], ModelStatistics]) -> None:
        """Add all counts to those of others."""
        with self._lock:
            add_rows(self._ledger, known)

    def unserved(self) -> Mapping[Code, int]:
        """Requests for which no model was found, by their status."""
        with self._lock:
            return failures_of(self._unserved)

    def _copy(self) -> dict[tuple[str, int], ModelStatistics]:
        known: dict[tuple[str, int], ModelStatistics] = {}
        self.add_to(known)
        return known

    def _open(self, name: str, version: int) -> _Version:
        cells = self._ledger.row(key_of(name, version), VERSION_CELLS)
        counted = self._versions[name, version] = _Version(cells)
        return counted
