"""The bounded buffer between answers and the prediction log: it never makes an answer wait.

Rows count against the bounds until the control process has published them. What does not fit
is dropped and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.serving.worker.log_rules import Rules
from services.serving.worker.model import Model

_ROW_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One answered request: the raw tensors of its rows, in the model's order.

    `outputs` are those of `model.logged_outputs`. `first_row` is where a part of a request begins.
    `flag` is one of `link.messages.Flag`, if any; `sampling_rate` is noted by the log.
    """

    model: Model
    request_id: str
    event_time_us: int
    rows: int
    inputs: Sequence[bytes]
    outputs: Sequence[bytes]
    input_shapes: Sequence[tuple[int, ...]]
    output_shapes: Sequence[tuple[int, ...]]
    first_row: int = 0
    flag: str = ""
    sampling_rate: float = 1.0
    table_version: int = 0
    propensity: float = 1.0
    arm: str = ""
    experiment: str = ""

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(map(len, self.inputs)) + sum(map(len, self.outputs))

    @property
    def weight(self) -> int:
        """Bytes in a record, at most: tensors, and an id and a time for each row."""
        return self.size + self.rows * (len(self.request_id.encode()) + _ROW_BYTES)


class PredictionLog:
    """Written by the threads that answer, drained by the one that ships."""

    def __init__(
        self,
        *,
        max_rows: int,
        max_bytes: int,
        ship_rows: int,
        full: Callable[[], None],
        rules: Rules | None = None,
    ) -> None:
        """`full` is called when `ship_rows` rows wait, from the thread that added the last."""
        self.rules = rules or Rules()
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._ship_rows = ship_rows
        self._full = full
        self._lock = threading.Lock()
        self._entries: deque[Answered] = deque()
        self._waiting_rows = 0
        self._held_rows = 0
        self._held_bytes = 0
        self.dropped_rows = 0
        self.logged_rows = 0
        self.sampled_out: dict[str, int] = {}

    @property
    def held_rows(self) -> int:
        """Rows in memory that are not published yet."""
        return self._held_rows

    def add(self, entries: Sequence[Answered]) -> None:
        """Keep answered requests, or count them as sampled out or dropped; returns at once."""
        sampled = [self._sampled(entry) for entry in entries]
        with self._lock:
            before = self._waiting_rows
            for entry, logged in zip(entries, sampled, strict=True):
                if logged is None:
                    out = self.sampled_out
                    out[entry.model.name] = out.get(entry.model.name, 0) + entry.rows
                else:
                    self._keep(logged)
            full = before < self._ship_rows <= self._waiting_rows
        if full:
            self._full()

    def _sampled(self, entry: Answered) -> Answered | None:
        """The entry with its rate, or None if the rules leave it out."""
        likelihood = self.rules.likelihood(entry.model.name, entry.request_id, entry.flag)
        if likelihood is None:
            return None
        return entry if likelihood >= 1 else replace(entry, sampling_rate=likelihood)

    def _keep(self, entry: Answered) -> None:
        size, rows = entry.size, entry.rows
        if self._held_rows + rows > self._max_rows or self._held_bytes + size > self._max_bytes:
            self.dropped_rows += rows
            return
        self._entries.append(entry)
        self._held_rows += rows
        self._held_bytes += size
        self._waiting_rows += rows

    def take(self) -> list[Answered]:
        """Everything that waits; it stays counted until `release`."""
        with self._lock:
            entries = list(self._entries)
            self._entries.clear()
            self._waiting_rows = 0
        return entries

    def release(self, *, rows: int, size: int, dropped: int = 0) -> None:
        """Rows left this process: published, or `dropped` of them given up."""
        with self._lock:
            self._held_rows -= rows
            self._held_bytes -= size
            self.dropped_rows += dropped
            self.logged_rows += rows - dropped
