"""Loads what has to be unpickled. Only ever called in a confined process.

scikit-learn answers as it does from skops. Everything else that MLflow wrote answers as its
`pyfunc` does: inputs are the signature's; an array is one output, a table or a mapping one
output for each column.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

import numpy as np

from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.worker.runtimes.matrix import output_names
from services.serving.worker.runtimes.mlmodel import MlModel, Signature, read_mlmodel
from services.serving.worker.runtimes.runtime import Runtime, TensorSpec, blank, engine, seen
from services.serving.worker.runtimes.skops import estimator_runtime
from services.serving.worker.sandbox.torchscript import open_torchscript
from services.serving.worker.tensors import Array

_PYFUNC: Final = "python_function"


def open_pickled(path: Path, kind: Format) -> Runtime:
    """Run the code in a model file. Raises Refused, or whatever that code raises."""
    match kind:
        case Format.PICKLE:
            return estimator_runtime(path, _unpickle(path))
        case Format.JOBLIB:
            return estimator_runtime(path, engine("joblib", extra="sklearn").load(path))
        case Format.MLFLOW:
            return _of_mlflow(path)
        case Format.TORCH:
            return open_torchscript(path)
        case (
            Format.ONNX
            | Format.XGBOOST
            | Format.LIGHTGBM
            | Format.SKOPS
            | Format.SAFETENSORS
            | Format.RIVER
        ):
            raise Refused(f"{path.name} is data: it needs no sandbox")
        case other:
            assert_never(other)


def _of_mlflow(mlmodel: Path) -> Runtime:
    folder = mlmodel.parent
    about = read_mlmodel(folder)
    sklearn = about.flavors.get("sklearn")
    if sklearn is not None and about.flavors.get(_PYFUNC, {}).get("loader_module") in (
        "mlflow.sklearn",
        None,
    ):
        _find_code(folder, about)
        return estimator_runtime(mlmodel, _unpickle(folder / sklearn["pickled_model"]))
    return PyfuncRuntime(mlmodel, about)


def _find_code(folder: Path, about: MlModel) -> None:
    """Modules that were logged with the model."""
    code = about.flavors.get(_PYFUNC, {}).get("code")
    if code:
        sys.path.insert(0, str(folder / code))


def _unpickle(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - signed, and confined


class PyfuncRuntime:
    """Whatever MLflow can load."""

    platform: Final = "mlflow_pyfunc"

    def __init__(self, mlmodel: Path, about: MlModel) -> None:
        signature = about.signature
        if signature is None:
            raise Refused(
                f"{mlmodel.name}: log the model with a signature, which says what it takes"
            )
        loaded = engine("mlflow.pyfunc", extra="worker").load_model(str(mlmodel.parent))
        self._predict = loaded.predict
        self._signature = signature
        self.inputs = list(signature.inputs)
        probe = self._parts({spec.name: blank(spec, 1) for spec in self.inputs})
        self._names = [name for name, _ in probe]
        self.outputs: Sequence[TensorSpec] = [seen(name, array) for name, array in probe]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        parts = self._parts(feed)
        if [name for name, _ in parts] != self._names:
            raise ValueError(f"the model gave {[name for name, _ in parts]}, not {self._names}")
        return [array for _, array in parts]

    def _parts(self, feed: Mapping[str, Array]) -> list[tuple[str, Array]]:
        answer = self._predict(_rows(self._signature, feed))
        if isinstance(answer, Mapping):
            return [(str(name), np.asarray(value)) for name, value in answer.items()]
        if hasattr(answer, "columns"):
            return [(str(name), answer[name].to_numpy()) for name in answer.columns]
        (name,) = output_names(self._signature, ["predict"])
        return [(name, np.asarray(answer))]


def _rows(signature: Signature, feed: Mapping[str, Array]) -> Any:
    if signature.columns:
        frame = engine("pandas", extra="sklearn").DataFrame
        return frame({spec.name: feed[spec.name][:, 0] for spec in signature.inputs})
    if len(signature.inputs) == 1:
        return feed[signature.inputs[0].name]
    return dict(feed)
