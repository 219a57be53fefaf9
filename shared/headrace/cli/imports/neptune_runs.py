"""What neptune-exporter left on disk: parquet files of attributes, and files beside them.

A project is a folder, a run is `<run>_part_<n>.parquet` in it, complete when part 0 is there. A
row is one value of one attribute; which column holds it depends on `attribute_type`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from headrace.cli.imports.extra import library
from headrace.cli.imports.names import key_of, run_id_of, unique_keys
from headrace.cli.imports.neptune_files import NeptuneFiles
from headrace.cli.imports.neptune_table import (
    float_series,
    owner_of,
    read_part,
    scalar_rows,
)
from headrace.cli.imports.sources import (
    Artifact,
    Broken,
    Experiment,
    Model,
    Run,
    Series,
    Stage,
    Unreadable,
)

_SYSTEM: Final = "sys/"
_FIRST: Final = "_part_0.parquet"
Attributes = dict[str, Any]


class NeptuneRuns:
    """A source: projects are experiments, attributes are params, float series are metrics."""

    def __init__(self, data: Path, *, files: Path | None, step_multiplier: int) -> None:
        library("pyarrow.parquet")
        self._multiplier = step_multiplier
        self._parts: dict[str, list[Path]] = {}
        self._projects = {
            folder.name: folder
            for folder in (sorted(data.iterdir()) if data.is_dir() else ())
            if folder.is_dir() and any(folder.glob(f"*{_FIRST}"))
        }
        if not self._projects:
            raise Unreadable(f"no run of neptune-exporter in {data}")
        beside = data.parent / "files"
        self._files = files or (beside if beside.is_dir() else None)

    @property
    def label(self) -> str:
        """The kind; which project it was is the experiment's id."""
        return "neptune"

    def experiments(self) -> Iterator[Experiment]:
        """One for each project."""
        for folder in self._projects.values():
            yield Experiment(source_id=folder.name, name=_project_in(folder))

    def runs(self, experiment: Experiment) -> Iterator[Run | Broken]:
        """The complete runs of a project."""
        folder = self._projects[experiment.source_id]
        for first in sorted(folder.glob(f"*{_FIRST}")):
            prefix = first.name.removesuffix(_FIRST)
            parts = sorted(folder.glob(f"{prefix}_part_*.parquet"), key=_number)
            try:
                run = _run(parts)
            except (Unreadable, OSError) as error:
                yield Broken(identity=prefix, reason=str(error))
            else:
                self._parts[run.run_id] = parts
                yield run

    def models(self, experiment: Experiment) -> Iterator[Model | Broken]:
        """None: Neptune's models are no runs' outputs."""
        _ = experiment
        yield from ()

    def whole(self, run: Run) -> Run:
        """The listing leaves nothing out."""
        return run

    def series(self, run: Run) -> Iterator[Series]:
        """Float series; a decimal step times the multiplier, without its fraction."""
        for part in self._parts[run.run_id]:
            yield from float_series(
                read_part(part), multiplier=self._multiplier, missing_time=run.start_time
            )

    def artifacts(self, owner: Run | Model) -> Iterator[Artifact]:
        """Files and file series; string and histogram series as JSON lines."""
        if isinstance(owner, Model):
            return
        parts = self._parts[owner.run_id]
        root = None if self._files is None else self._files / parts[0].parent.name
        files = NeptuneFiles(root=root, multiplier=self._multiplier)
        yield from files.of(read_part(part) for part in parts)

    def close(self) -> None:
        """Nothing is held open."""


def _project_in(folder: Path) -> str:
    """The project's own name, from the first run that can be read; else the folder's."""
    for part in sorted(folder.glob(f"*{_FIRST}")):
        with suppress(Unreadable):
            return owner_of(read_part(part)).project
    return folder.name


def _run(parts: list[Path]) -> Run:
    identity = owner_of(read_part(parts[0])).run
    values: Attributes = {
        row.path: row.value for part in parts for row in scalar_rows(read_part(part))
    }
    system = {
        path.removeprefix(_SYSTEM): value
        for path, value in values.items()
        if path.startswith(_SYSTEM)
    }
    params = {path: _text(value) for path, value in values.items() if not path.startswith(_SYSTEM)}
    keys = unique_keys(params)
    created = _milliseconds(system.get("creation_time"))
    ended = _milliseconds(system.get("modification_time"))
    return Run(
        run_id=run_id_of(identity),
        name=_text(system.get("name") or system.get("custom_run_id") or identity),
        user_id=_text(system.get("owner") or ""),
        status="FAILED" if system.get("failed") is True else "FINISHED",
        start_time=created or 0,
        end_time=ended,
        lifecycle_stage=_stage(system),
        params={keys[path]: text for path, text in params.items()},
        tags=_tags(system, identity),
        state=" ".join(str(part.stat().st_size) for part in parts),
    )


def _tags(system: Attributes, identity: str) -> dict[str, str]:
    tags = {key_of(f"neptune.{name}"): _text(value) for name, value in system.items()}
    tags["neptune.run_id"] = identity
    if system.get("description"):
        tags["mlflow.note.content"] = _text(system["description"])
    if system.get("forking/parent"):
        tags["mlflow.parentRunId"] = run_id_of(_text(system["forking/parent"]))
    return tags


def _stage(system: Attributes) -> Stage:
    return "deleted" if system.get("trashed") is True else "active"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _milliseconds(value: object) -> int | None:
    return round(value.timestamp() * 1000) if hasattr(value, "timestamp") else None


def _number(part: Path) -> int:
    number = part.stem.rpartition("_")[2]
    return int(number) if number.isdigit() else 0
