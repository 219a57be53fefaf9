"""The counts of all workers of a node together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from services.serving.worker.statistics.counting import Statistics
from services.serving.worker.statistics.counts import ModelStatistics
from services.serving.worker.statistics.ledger import Ledger, read
from services.serving.worker.statistics.rows import add_rows


class NodeStatistics:
    """The sum over the ledgers in a folder, those of workers that are gone included."""

    def __init__(self, own: Statistics, *, ledger: Ledger, folder: Path) -> None:
        """`ledger` is where `own` counts."""
        self._own = own
        self._ledger = ledger
        self._folder = folder

    def of(self, names: Iterable[tuple[str, int]]) -> list[ModelStatistics]:
        """As `Statistics.of`."""
        known: dict[tuple[str, int], ModelStatistics] = {}
        self._own.add_to(known)
        for path in self._others():
            with suppress(OSError):
                add_rows(read(path), known)
        return [
            known.get((name, version)) or ModelStatistics(name=name, version=version)
            for name, version in names
        ]

    def _others(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if path != self._ledger.path]
