"""Conversions to ONNX: which versions are worth one, and which one may answer for its model.

A conversion is an ONNX file and a parity report that binds it, by their digests, to the files that
it was made from. It was registered within the version, or derived from it by the platform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from pydantic import ValidationError

from headrace.conversion.report import FOLDER, ONNX_FILE, REPORT_FILE, ParityReport
from headrace.errors import Refused
from headrace.events import FileRef
from services.serving.domain import Deployment
from services.serving.domain.formats import (
    MLMODEL_FILE,
    Format,
    Serveable,
    beneath,
    check_paths,
    name_of,
    serveable,
    shallowest,
)

_FROM_ANYWHERE: Final = frozenset({Format.SKOPS, Format.PICKLE, Format.JOBLIB, Format.MLFLOW})
_FROM_MLFLOW: Final = frozenset({Format.XGBOOST, Format.LIGHTGBM})
_MAX_REPORT: Final = 4 * 1024**2
_LABELS_FILE: Final = "labels.txt"
ONNX_PATH: Final = f"{FOLDER}/{ONNX_FILE}"
REPORT_PATH: Final = f"{FOLDER}/{REPORT_FILE}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """The converted model as it is served, and its report among the files that needs."""

    chosen: Serveable
    report: FileRef


def native(files: Sequence[FileRef]) -> Serveable:
    """The model itself, whatever it was converted to. Raises Refused when there is none.

    What looks like a conversion and has nothing that it comes from is a model like any other.
    """
    pair = _pair(files)
    if pair is None:
        return serveable(files)
    try:
        model = serveable([file for file in files if file not in pair])
    except Refused:
        return serveable(files)
    return replace(model, needed=beneath(model.folder, files))


def conversion_of(files: Sequence[FileRef], converted: Sequence[FileRef]) -> Conversion | None:
    """What may answer for a version's model: derived from it, else registered within it.

    Raises Refused when a path leads outside the version.
    """
    derived = _pair(converted)
    if derived is not None:
        return _conversion(derived, converted, PurePosixPath(derived[0].path).parent)
    own = _pair(files)
    if own is None:
        return None
    model = native(files)
    if model.model in own or own[0] not in model.needed:
        return None
    return _conversion(own, model.needed, model.folder)


def answers_converted(deployment: Deployment) -> bool:
    """Whether a deployment that answers does so with a conversion."""
    order = deployment.order
    return not deployment.native_because and conversion_of(order.files, order.converted) is not None


def worth_converting(files: Sequence[FileRef]) -> Serveable | None:
    """The model of a version if it is of a kind that can be converted, and is not yet."""
    try:
        if _pair(files) is not None:
            return None
        model = serveable(files)
    except Refused:
        return None
    kinds = _FROM_ANYWHERE | _FROM_MLFLOW if is_mlflow(model) else _FROM_ANYWHERE
    return model if model.format in kinds else None


def labels_beside(files: Sequence[FileRef]) -> list[FileRef]:
    """The names of a model's classes, where a conversion derived from it looks for them."""
    wanted = native(files).folder / _LABELS_FILE
    return [
        file.model_copy(update={"path": f"{FOLDER}/{_LABELS_FILE}"})
        for file in files
        if PurePosixPath(file.path) == wanted
    ]


def is_mlflow(model: Serveable) -> bool:
    """Whether it is a folder of MLflow, whatever loads it."""
    return any(
        name_of(file) == MLMODEL_FILE and PurePosixPath(file.path).parent == model.folder
        for file in model.needed
    )


def check_report(content: bytes, *, conversion: Conversion, model: Serveable) -> None:
    """Raise Refused unless the report says that exactly these files answer alike."""
    if len(content) > _MAX_REPORT:
        raise Refused(f"{conversion.report.path} has {len(content)} bytes, expected a report")
    try:
        report = ParityReport.model_validate_json(content)
    except ValidationError as error:
        raise Refused(f"{conversion.report.path} is not a parity report") from error
    if not report.bears_out:
        raise Refused(f"{conversion.report.path} does not say that parity holds: {report.reason}")
    onnx = conversion.chosen.model
    if report.onnx_digest != onnx.digest:
        raise Refused(f"{conversion.report.path} is of another file than {onnx.path}")
    _check_sources(report, conversion, model)


def _check_sources(report: ParityReport, conversion: Conversion, model: Serveable) -> None:
    digests = {
        PurePosixPath(file.path).relative_to(model.folder).as_posix(): file.digest
        for file in model.needed
    }
    for path, digest in report.sources.items():
        if digests.get(path) != digest:
            raise Refused(f"{conversion.report.path} is of another {path} than the version has")
    own = PurePosixPath(model.model.path).relative_to(model.folder).as_posix()
    if own not in report.sources:
        raise Refused(f"{conversion.report.path} does not say that it is of {model.model.path}")


def _pair(files: Sequence[FileRef]) -> tuple[FileRef, FileRef] | None:
    """An ONNX file and the report beside it, as the converter lays them down.

    Raises Refused when a path leads outside the version.
    """
    check_paths(files)
    found = {
        PurePosixPath(file.path).parent: file
        for file in files
        if name_of(file) == REPORT_FILE and PurePosixPath(file.path).parent.name == FOLDER
    }
    converted = [
        file
        for file in files
        if name_of(file) == ONNX_FILE and PurePosixPath(file.path).parent in found
    ]
    onnx = shallowest(converted)
    return None if onnx is None else (onnx, found[PurePosixPath(onnx.path).parent])


def _conversion(
    pair: tuple[FileRef, FileRef], needed: Sequence[FileRef], folder: PurePosixPath
) -> Conversion:
    onnx, report = pair
    chosen = Serveable(format=Format.ONNX, model=onnx, needed=tuple(needed), folder=folder)
    return Conversion(chosen=chosen, report=report)
