"""What an import did, counted while it goes on and shown while a person waits."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Something that was not imported, and why."""

    kind: str
    identity: str
    experiment: str
    reason: str


@dataclass(kw_only=True)
class Report:
    """Counts of one import; its methods may be called from any thread."""

    source: str
    dry_run: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, amount: int = 1) -> None:
        """Add to a count, e.g. `runs_imported`."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + amount

    def fail(self, kind: str, identity: str, experiment: str, reason: str) -> None:
        """Note what was not imported."""
        with self._lock:
            self.failures.append(
                Failure(kind=kind, identity=identity, experiment=experiment, reason=reason)
            )

    def of(self, what: str) -> int:
        """A count so far."""
        return self.counts.get(what, 0)

    def document(self) -> dict[str, Any]:
        """The report for programs."""
        names = (
            "experiments",
            "runs",
            "models",
            "points",
            "files",
            "registered_models",
            "versions",
        )
        counts = {name: self.of(name) for name in names}
        return {
            "source": self.source,
            "dry_run": self.dry_run,
            **counts,
            "unchanged": self.of("unchanged"),
            "files_present": self.of("files_present"),
            "bytes": self.of("bytes"),
            "seconds": round(time.monotonic() - self._began, 3),
            "failures": [
                {
                    "kind": one.kind,
                    "id": one.identity,
                    "experiment": one.experiment,
                    "reason": one.reason,
                }
                for one in self.failures
            ],
        }

    def lines(self) -> str:
        """The report for people."""
        found = self.document()
        verb = "would import" if self.dry_run else "imported"
        first = (
            f"{verb} {found['runs']} runs and {found['models']} models in {found['experiments']}"
            f" experiments, {found['points']} points, {found['files']} files"
            f" ({found['bytes']} bytes), {found['versions']} versions of"
            f" {found['registered_models']} registered models in {found['seconds']:.1f} s;"
            f" {found['unchanged']} were here already, {len(self.failures)} failed"
        )
        return "\n".join([first, *map(_line, self.failures)])


def _line(failure: Failure) -> str:
    where = f" of {failure.experiment!r}" if failure.experiment else ""
    return f"  {failure.kind} {failure.identity}{where}: {failure.reason}"


class Show:
    """A progress bar on standard error, where a person reads along; nothing elsewhere."""

    def __init__(self, report: Report, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._report = report
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task("runs and models", total=0, note="")
        self._total = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def expect(self, more: int) -> None:
        """So many more are to be done."""
        with self._lock:
            self._total += more
            self._progress.update(self._task, total=self._total)

    def advance(self, done: int = 1) -> None:
        """So many are done, one way or another."""
        self._progress.advance(self._task, done)
        self.refresh()

    def refresh(self) -> None:
        """Bring the counts of points and files up to date."""
        note = f"{self._report.of('points'):,} points, {self._report.of('files'):,} files"
        self._progress.update(self._task, note=note)
