"""Which of a version's files is the model, in which format, and how far it is to be trusted.

The names of the files decide, so that nothing has to be opened; whoever loads the file finds out
whether it is what its name says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from headrace.errors import Refused

if TYPE_CHECKING:
    # Workers have these rules too, and none of the events' models.
    from headrace.events import FileRef

ONNX_FILE: Final = "model.onnx"
RIVER_FILE: Final = "model.river.json"
"""A snapshot of a learner in the stream; what lies below it is for its replay only."""
MLMODEL_FILE: Final = "MLmodel"
_SHOWN: Final = 10


class Tier(IntEnum):
    """What loading a file can do."""

    DATA = 1
    """It is read as numbers: any worker loads it."""
    ALLOW_LISTED = 2
    """It names the types that it is made of: any worker loads it, types of the server's own list
    only."""
    PICKLED = 3
    """It runs code: only signed by a trusted key and in a sandboxed process of its own."""


class Format(StrEnum):
    """How a model is written."""

    ONNX = "onnx"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    SKOPS = "skops"
    RIVER = "river"
    SAFETENSORS = "safetensors"
    """Weights; a config.json beside them says of which net."""
    MLFLOW = "mlflow"
    """A folder that only MLflow loads: pickled scikit-learn, PyTorch, python_function."""
    PICKLE = "pickle"
    JOBLIB = "joblib"
    TORCH = "torch"
    """TorchScript: a program, though not one in Python."""

    @property
    def tier(self) -> Tier:
        """How far a file of this format is to be trusted."""
        return _TIERS.get(self, Tier.PICKLED)


_TIERS: Final[Mapping[Format, Tier]] = {
    Format.ONNX: Tier.DATA,
    Format.XGBOOST: Tier.DATA,
    Format.LIGHTGBM: Tier.DATA,
    Format.RIVER: Tier.DATA,
    Format.SAFETENSORS: Tier.DATA,
    Format.SKOPS: Tier.ALLOW_LISTED,
}
_SUFFIXES: Final[Mapping[str, Format]] = {
    ".onnx": Format.ONNX,
    ".ubj": Format.XGBOOST,
    ".json": Format.XGBOOST,
    ".xgb": Format.XGBOOST,
    ".txt": Format.LIGHTGBM,
    ".lgb": Format.LIGHTGBM,
    ".skops": Format.SKOPS,
    ".pkl": Format.PICKLE,
    ".pickle": Format.PICKLE,
    ".joblib": Format.JOBLIB,
    ".pt": Format.TORCH,
    ".pth": Format.TORCH,
    ".torchscript": Format.TORCH,
    ".safetensors": Format.SAFETENSORS,
}
_EITHER: Final = ".bst"
"""XGBoost's and LightGBM's users both name their files so."""
_MLFLOW_DATA: Final = frozenset({Format.ONNX, Format.XGBOOST, Format.LIGHTGBM, Format.SKOPS})
_PYFUNC_FILE: Final = "python_model.pkl"
"""MLflow's name for a model of a class of one's own; what lies beside it are its materials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serveable:
    """The model of a version: the file that its loader opens and all that it may need.

    `model` of a `Format.MLFLOW` is the MLmodel file: its folder is what MLflow loads.
    """

    format: Format
    model: FileRef
    needed: tuple[FileRef, ...]
    folder: PurePosixPath
    """Where `needed` lie in the version: what signs them is at its top."""


def serveable(files: Sequence[FileRef]) -> Serveable:
    """The model of a version, by the names of its files.

    There must be one: what an MLflow folder holds, a file named `model.<suffix>`, or the only
    file that there is. Conversions of it do not count (see `conversions`).

    Raises Refused when there is no model or more than one, or when a path leads outside.
    """
    check_paths(files)
    folder = shallowest([file for file in files if name_of(file) == MLMODEL_FILE])
    if folder is not None:
        return _of_mlflow(folder, files)
    snapshot = next((file for file in files if file.path == RIVER_FILE), None)
    if snapshot is not None:
        top = PurePosixPath(snapshot.path).parent
        return Serveable(format=Format.RIVER, model=snapshot, needed=(snapshot,), folder=top)
    return _bare(files)


def _of_mlflow(mlmodel: FileRef, files: Sequence[FileRef]) -> Serveable:
    folder = PurePosixPath(mlmodel.path).parent
    beside = [file for file in files if PurePosixPath(file.path).parent == folder]
    if any(name_of(file) == _PYFUNC_FILE for file in beside):
        return _with_folder(Format.MLFLOW, mlmodel, files)
    models = {file: kind for file, kind in _named_model(beside).items() if kind in _MLFLOW_DATA}
    if not models:
        return _with_folder(Format.MLFLOW, mlmodel, files)
    model, kind = _only(models)
    return _with_folder(kind, model, files)


def _bare(files: Sequence[FileRef]) -> Serveable:
    named = _named_model(files)
    depths = {len(PurePosixPath(file.path).parts) for file in named}
    top = {
        file: kind
        for file, kind in named.items()
        if len(PurePosixPath(file.path).parts) == min(depths)
    }
    if top:
        model, kind = _only(_without_leftovers(top))
        return _with_folder(kind, model, files)
    if len(files) == 1:
        sole = _format_of(files[0])
        if sole is not None:
            return _with_folder(sole, files[0], files)
    shown = ", ".join(sorted(file.path for file in files)[:_SHOWN]) or "no files"
    raise Refused(
        f"expected a file named {ONNX_FILE}, an MLflow folder, or a model.<suffix> with "
        f"{', '.join(_SUFFIXES)}; the version has {shown}"
    )


def _named_model(files: Sequence[FileRef]) -> dict[FileRef, Format]:
    """Files called `model.<suffix>`, with their formats."""
    found = {}
    for file in files:
        kind = _format_of(file) if PurePosixPath(file.path).stem == "model" else None
        if kind is not None:
            found[file] = kind
    return found


def _format_of(file: FileRef) -> Format | None:
    suffix = PurePosixPath(file.path).suffix
    if suffix == _EITHER:
        raise Refused(
            f"{file.path} may be a model of XGBoost or of LightGBM: name it model.ubj or "
            "model.json if it is XGBoost's, model.txt if it is LightGBM's"
        )
    return _SUFFIXES.get(suffix)


def _without_leftovers(models: Mapping[FileRef, Format]) -> Mapping[FileRef, Format]:
    """Without what ONNX was exported from, where that would have to be unpickled."""
    onnx = {file: kind for file, kind in models.items() if kind is Format.ONNX}
    others = [kind for kind in models.values() if kind is not Format.ONNX]
    return onnx if onnx and all(kind.tier is Tier.PICKLED for kind in others) else models


def _only(models: Mapping[FileRef, Format]) -> tuple[FileRef, Format]:
    if len(models) > 1:
        shown = ", ".join(sorted(file.path for file in models))
        raise Refused(
            f"the version has more than one model ({shown}): keep one, or convert it with "
            "`headrace models convert`, whose report says that both answer alike"
        )
    return next(iter(models.items()))


def _with_folder(kind: Format, model: FileRef, files: Sequence[FileRef]) -> Serveable:
    folder = PurePosixPath(model.path).parent
    return Serveable(format=kind, model=model, needed=beneath(folder, files), folder=folder)


def beneath(folder: PurePosixPath, files: Sequence[FileRef]) -> tuple[FileRef, ...]:
    """The files in a folder, however deep."""
    return tuple(file for file in files if PurePosixPath(file.path).is_relative_to(folder))


def shallowest(files: Sequence[FileRef]) -> FileRef | None:
    """The file that lies least deep, the first by name of those."""
    return min(
        files, key=lambda file: (len(PurePosixPath(file.path).parts), file.path), default=None
    )


def name_of(file: FileRef) -> str:
    """Its name without the folders."""
    return PurePosixPath(file.path).name


def check_paths(files: Sequence[FileRef]) -> None:
    """Raise Refused when a path leads outside the version."""
    for file in files:
        parts = PurePosixPath(file.path).parts
        outside = file.path.startswith("/") or ".." in parts
        if not parts or outside or "\\" in file.path or "\0" in file.path:
            raise Refused(f"file path {file.path!r}: expected a relative path inside the version")
