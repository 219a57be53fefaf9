"""The bounded buffer between answers and the prediction log: it never makes an answer wait.

Rows count against the bounds until the control process has published them. What does not fit
is dropped and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from services.serving.worker.answered import Answered, split_requests
from services.serving.worker.flags import flags_of
from services.serving.worker.log_rules import Rules


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
        sampled: list[Answered] = []
        left_out: list[tuple[str, int]] = []
        for entry in entries:
            if self.rules.whole(entry.model.name):
                sampled.append(entry)
            else:
                sampled += self._sampled(entry, left_out)
        with self._lock:
            before = self._waiting_rows
            for name, rows in left_out:
                self.sampled_out[name] = self.sampled_out.get(name, 0) + rows
            for logged in sampled:
                self._keep(logged)
            full = before < self._ship_rows <= self._waiting_rows
        if full:
            self._full()

    def _sampled(self, entry: Answered, left_out: list[tuple[str, int]]) -> Iterator[Answered]:
        """The requests that the rules keep, with their rates; the others are noted."""
        name = entry.model.name
        for request in split_requests(entry):
            flags = flags_of(request, self.rules.of(name).outlier)
            likelihood = self.rules.likelihood(name, request.request_ids[0], flags)
            if likelihood is None:
                left_out.append((name, request.rows))
            else:
                yield replace(request, sampling_rate=likelihood)

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
