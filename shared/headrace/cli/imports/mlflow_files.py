"""An `mlruns/` folder: YAML files and one file for each param, tag and metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from headrace.cli.imports.extra import yaml_of
from headrace.cli.imports.local_files import LocalFiles, artifacts_below
from headrace.cli.imports.mlflow_values import (
    milliseconds,
    model_status,
    run_status,
    stage_of,
    true_value,
)
from headrace.cli.imports.sources import (
    Artifact,
    Broken,
    Dataset,
    Experiment,
    Model,
    ModelPoint,
    Run,
    Series,
    Unreadable,
    identity_of,
    series_of,
)

META: Final = "meta.yaml"
_TRASH: Final = ".trash"
_NOT_RUNS: Final = frozenset({"tags", "datasets", "traces", "models"})
FoundT = TypeVar("FoundT", Experiment, Run, Model)
Line = tuple[int, float, int, list[str]]


class MlflowFiles:
    """A source; experiments in its trash are deleted ones."""

    def __init__(self, root: Path, *, artifacts: Path | None = None) -> None:
        self._root = root
        self._files = LocalFiles(base=root.parent, served=artifacts)
        self._places: dict[str, Path] = {}
        self._homes = {
            folder.name: folder
            for folder in (*_folders(root), *_folders(root / _TRASH))
            if (folder / META).is_file()
        }
        if not self._homes:
            raise Unreadable(f"{root} is not a folder of MLflow: no experiment is in it")

    @property
    def label(self) -> str:
        """Kind and name of the folder."""
        return f"mlruns:{self._root.resolve().name}"

    def experiments(self) -> Iterator[Experiment | Broken]:
        """All experiments, by folder name."""
        for number in sorted(self._homes):
            yield _tried(self._homes[number], partial(_experiment, self._homes[number]))

    def runs(self, experiment: Experiment) -> Iterator[Run | Broken]:
        """All runs of an experiment, by id; one whose files are damaged is broken."""
        home = self._homes[experiment.source_id]
        deleted = experiment.lifecycle_stage == "deleted"
        for folder in _folders(home):
            if folder.name not in _NOT_RUNS:
                self._places[folder.name] = folder
                yield _tried(folder, partial(_run, folder, home, deleted=deleted))

    def models(self, experiment: Experiment) -> Iterator[Model | Broken]:
        """Active logged models of an experiment."""
        for folder in _folders(self._homes[experiment.source_id] / "models"):
            self._places[folder.name] = folder
            found = _tried(folder, partial(_model, folder))
            if isinstance(found, Broken) or not _is_deleted(folder):
                yield found

    def whole(self, run: Run) -> Run:
        """The listing leaves nothing out."""
        return run

    def series(self, run: Run) -> Iterator[Series]:
        """The metrics of a run, by key."""
        for key, file in _named_files(self._places[run.run_id] / "metrics"):
            lines = _lines(key, file)
            if lines:
                times, values, steps, _ = zip(*lines, strict=True)
                yield series_of(key, values, times, steps)

    def artifacts(self, owner: Run | Model) -> Iterator[Artifact]:
        """Files beside what describes the run or model, else where that says they are."""
        beside = self._places[identity_of(owner)] / "artifacts"
        if beside.is_dir():
            return artifacts_below(beside)
        return self._files.below(owner.artifact_uri)

    def close(self) -> None:
        """Nothing is held open."""


def _experiment(folder: Path) -> Experiment:
    meta = yaml_of(folder / META)
    in_trash = folder.parent.name == _TRASH
    return Experiment(
        source_id=folder.name,
        name=str(meta.get("name", folder.name)),
        lifecycle_stage="deleted" if in_trash else stage_of(meta.get("lifecycle_stage")),
        creation_time=milliseconds(meta.get("creation_time")),
        tags=_texts(folder / "tags"),
    )


def _run(folder: Path, home: Path, *, deleted: bool) -> Run:
    meta = yaml_of(folder / META)
    tags = _texts(folder / "tags")
    inputs = [yaml_of(one / META) for one in _folders(folder / "inputs")]
    outputs = [yaml_of(one / META) for one in _folders(folder / "outputs")]
    sizes = [f"{key} {file.stat().st_size}" for key, file in _named_files(folder / "metrics")]
    return Run(
        run_id=folder.name,
        name=str(meta.get("run_name") or tags.get("mlflow.runName", "")),
        user_id=str(meta.get("user_id") or ""),
        status=run_status(meta.get("status")),
        start_time=milliseconds(meta.get("start_time")) or 0,
        end_time=milliseconds(meta.get("end_time")),
        lifecycle_stage="deleted" if deleted else stage_of(meta.get("lifecycle_stage")),
        params=_texts(folder / "params"),
        tags=tags,
        datasets=[
            _dataset(home / "datasets" / str(one["source_id"]), one)
            for one in inputs
            if one.get("source_type") == "DATASET"
        ],
        model_inputs=[str(one["source_id"]) for one in inputs if one.get("source_type") == "MODEL"],
        model_outputs=[(str(one["source_id"]), int(one.get("step") or 0)) for one in outputs],
        artifact_uri=str(meta.get("artifact_uri") or ""),
        state="\n".join(sizes),
    )


def _dataset(folder: Path, used: dict[str, Any]) -> Dataset:
    meta = yaml_of(folder / META)
    return Dataset(
        name=str(meta["name"]),
        digest=str(meta["digest"]),
        source_type=str(meta["source_type"]),
        source=str(meta["source"]),
        schema=meta.get("schema"),
        profile=meta.get("profile"),
        tags={str(key): str(value) for key, value in (used.get("tags") or {}).items()},
    )


def _model(folder: Path) -> Model:
    meta = yaml_of(folder / META)
    return Model(
        model_id=folder.name,
        name=str(meta["name"]),
        model_type=str(meta.get("model_type") or ""),
        status=model_status(meta.get("status")),
        status_message=str(meta.get("status_message") or ""),
        source_run_id=str(meta.get("source_run_id") or ""),
        creation_timestamp_ms=milliseconds(meta.get("creation_timestamp")) or 0,
        last_updated_timestamp_ms=milliseconds(meta.get("last_updated_timestamp")) or 0,
        params=_texts(folder / "params"),
        tags=_texts(folder / "tags"),
        metrics=[
            _model_point(key, line)
            for key, file in _named_files(folder / "metrics")
            for line in _lines(key, file)
        ],
        artifact_uri=str(meta.get("artifact_location") or ""),
    )


def _model_point(key: str, line: Line) -> ModelPoint:
    timestamp, value, step, rest = line
    run_id, name, digest = (*rest, "", "", "")[:3]
    return ModelPoint(
        key=key,
        value=value,
        timestamp=timestamp,
        step=step,
        run_id=run_id,
        dataset_name=name,
        dataset_digest=digest,
    )


def _is_deleted(folder: Path) -> bool:
    return stage_of(yaml_of(folder / META).get("lifecycle_stage")) == "deleted"


def _lines(key: str, file: Path) -> list[Line]:
    """`timestamp value [step [rest]]` a line; a last line that was cut off is left out."""
    text = file.read_text("utf-8")
    lines = text.splitlines()
    found: list[Line] = []
    for number, line in enumerate(lines, start=1):
        try:
            timestamp, value, *rest = line.split()
            step = int(rest[0]) if rest else 0
            found.append((int(timestamp), true_value(value), step, rest[1:]))
        except ValueError as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise Unreadable(f"metric {key}: line {number} is {line[:80]!r}") from error
    return found


def _texts(folder: Path) -> dict[str, str]:
    return {key: file.read_text("utf-8") for key, file in _named_files(folder)}


def _named_files(folder: Path) -> list[tuple[str, Path]]:
    """Files of a folder and of those in it, by path relative to it."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted((file.relative_to(folder).as_posix(), file) for file in files)


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, by name; hidden ones and none at all are left out."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_dir() and one.name[0] != ".")


def _tried(folder: Path, read: Callable[[], FoundT]) -> FoundT | Broken:
    try:
        return read()
    except (Unreadable, OSError, KeyError, ValueError) as error:
        reason = str(error) if isinstance(error, Unreadable) else repr(error)
        return Broken(identity=folder.name, reason=reason)
