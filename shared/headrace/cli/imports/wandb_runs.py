"""W&B runs that were logged offline: one `.wandb` file a run, several if it was resumed."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from headrace.cli.imports.local_files import artifacts_below
from headrace.cli.imports.names import unique_keys
from headrace.cli.imports.sources import (
    Artifact,
    Broken,
    Experiment,
    Model,
    Run,
    Series,
    Unreadable,
    series_of,
)
from headrace.cli.imports.wandb_reading import Reading, milliseconds_of, run_records
from headrace.cli.imports.wandb_values import numbers
from headrace.rpc.imports.v1.wandb_run_pb2 import History, Stats

NO_PROJECT: Final = "uncategorized"
_SYSTEM: Final = "system/"
_CLOCK: Final = frozenset({"_step", "_timestamp", "_runtime"})


class WandbRuns:
    """A source: projects are experiments, config is params, history and stats are metrics."""

    def __init__(self, paths: Sequence[Path]) -> None:
        files = sorted({file.resolve() for path in paths for file in _found(path)})
        if not files:
            raise Unreadable(f"no .wandb file in {', '.join(map(str, paths))}")
        self._broken: list[Broken] = []
        self._files: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        self._places: dict[str, list[Path]] = {}
        for file in sorted(files, key=lambda one: (one.parent.name, one.name)):
            self._sort_in(file)

    @property
    def label(self) -> str:
        """The kind; which project it was is the experiment's id."""
        return "wandb"

    def experiments(self) -> Iterator[Experiment]:
        """One for each project."""
        for project in sorted(self._files):
            yield Experiment(source_id=project, name=project)

    def runs(self, experiment: Experiment) -> Iterator[Run | Broken]:
        """The runs of a project, and with the first project what could not be read at all."""
        yield from self._broken
        self._broken = []
        for identity, files in sorted(self._files[experiment.source_id].items()):
            try:
                run = Reading.of(files).run(identity, files)
            except (Unreadable, DecodeError, OSError) as error:
                yield Broken(identity=identity, reason=str(error))
            else:
                self._places[run.run_id] = files
                yield run

    def models(self, experiment: Experiment) -> Iterator[Model | Broken]:
        """None: W&B has models as artifacts only."""
        _ = experiment
        yield from ()

    def whole(self, run: Run) -> Run:
        """The listing leaves nothing out."""
        return run

    def series(self, run: Run) -> Iterator[Series]:
        """History by step, and what the machine did as `system/*`."""
        columns: dict[str, _Column] = defaultdict(_Column)
        for record in run_records(self._places[run.run_id]):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                _add_history(columns, record.history, started=run.start_time)
            elif kind == "stats":
                _add_stats(columns, record.stats)
        keys = unique_keys(columns)
        for name, column in columns.items():
            yield series_of(keys[name], column.values, column.timestamps, column.steps)

    def artifacts(self, owner: Run | Model) -> Iterator[Artifact]:
        """What lies in the `files` folders of the run; the latest of a name counts."""
        if isinstance(owner, Model):
            return iter(())
        found: dict[str, Artifact] = {}
        for file in self._places[owner.run_id]:
            found.update((one.path, one) for one in artifacts_below(file.parent / "files"))
        return iter(found.values())

    def close(self) -> None:
        """Nothing is held open."""

    def _sort_in(self, file: Path) -> None:
        try:
            project, identity = _run_in(file)
        except (Unreadable, DecodeError, OSError) as error:
            self._broken.append(Broken(identity=file.name, reason=str(error)))
            project, identity = NO_PROJECT, ""
        runs = self._files[project]
        if identity:
            runs[identity].append(file)


@dataclass(slots=True)
class _Column:
    """Points of one metric as they come."""

    values: array[float] = field(default_factory=lambda: array("d"))
    timestamps: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))

    def add(self, value: float, timestamp: int, step: int) -> None:
        self.values.append(value)
        self.timestamps.append(timestamp)
        self.steps.append(step)


def _run_in(file: Path) -> tuple[str, str]:
    """Project and id of the run that a file is of. Raises Unreadable."""
    for record in run_records([file]):
        if record.HasField("run"):
            return record.run.project or NO_PROJECT, record.run.run_id
    raise Unreadable("it does not say which run it is of")


def _found(path: Path) -> Iterator[Path]:
    return path.rglob("*.wandb") if path.is_dir() else iter([path])


def _add_history(columns: dict[str, _Column], history: History, *, started: int) -> None:
    found = {name: value for item in history.item for name, value in numbers(item)}
    step = int(found.get("_step", history.step.num))
    timestamp = round(found["_timestamp"] * 1000) if "_timestamp" in found else started
    for name, value in found.items():
        if name not in _CLOCK:
            columns[name].add(value, timestamp, step)


def _add_stats(columns: dict[str, _Column], stats: Stats) -> None:
    timestamp = milliseconds_of(stats.timestamp)
    for item in stats.item:
        for name, value in numbers(item):
            column = columns[_SYSTEM + name.removeprefix("system.")]
            column.add(value, timestamp, len(column.values))
