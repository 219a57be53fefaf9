"""The model as its own library loads it: only ever in the child process."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Feed = Mapping[str, NDArray[Any]]
_FLAVORS: Final = ("sklearn", "xgboost", "lightgbm")
_COLUMNS: Final = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
}
"""numpy types of MLflow's columns; others are not converted."""


class Unconvertible(Exception):
    """The model stays native; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """A named input of `width` columns; `dtype` is numpy's name, `object` for text."""

    name: str
    dtype: str
    width: int


@dataclass(frozen=True, kw_only=True)
class Original:
    """A fitted estimator, under the names that serving gives its inputs and outputs.

    `functions`: names of its methods by the names of the outputs; `columns`: whether it takes a
    table whose columns are the inputs; `example`: recorded inputs, if there are any.
    """

    estimator: Any
    inputs: Sequence[Input]
    columns: bool
    functions: Mapping[str, str]
    example: Any = None

    def answer(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """What it gives for these inputs, by output."""
        rows: Any = feed[self.inputs[0].name]
        if self.columns:
            frame = importlib.import_module("pandas").DataFrame
            rows = frame({each.name: feed[each.name][:, 0] for each in self.inputs})
        return {
            output: np.asarray(getattr(self.estimator, name)(rows))
            for output, name in self.functions.items()
        }


def open_original(path: Path) -> Original:
    """Load a folder of MLflow or a single file. Raises Unconvertible."""
    return _of_mlflow(path) if (path / "MLmodel").is_file() else _of_file(path)


def _of_mlflow(folder: Path) -> Original:
    from mlflow.models import Model  # noqa: PLC0415 - heavy, the child only

    about = Model.load(str(folder))
    flavor = next((name for name in _FLAVORS if name in about.flavors), None)
    if flavor is None:
        raise Unconvertible(f"a model of {', '.join(about.flavors)} stays as it is")
    written = about.flavors[flavor]
    loader = importlib.import_module(f"mlflow.{flavor}").load_model
    estimator = loader(str(folder))
    inputs, columns = _signature_inputs(about.signature, estimator)
    example = about.load_input_example(str(folder)) if about.saved_input_example_info else None
    functions = _functions(estimator, written.get("pyfunc_predict_fn", "predict"))
    outputs = about.signature.outputs.inputs if about.signature and about.signature.outputs else []
    if outputs:
        functions[0] = (outputs[0].name or "output-0", functions[0][1])
    return Original(
        estimator=estimator,
        inputs=inputs,
        columns=columns,
        functions=dict(functions),
        example=example,
    )


def _of_file(path: Path) -> Original:
    loaders: Mapping[str, Callable[[Path], Any]] = {
        ".skops": _load_skops,
        ".pkl": _load_pickle,
        ".pickle": _load_pickle,
        ".joblib": lambda file: importlib.import_module("joblib").load(file),
    }
    loader = loaders.get(path.suffix)
    if loader is None:
        raise Unconvertible(
            f"{path.name}: expected an MLflow model folder or a file with {', '.join(loaders)}"
        )
    estimator = loader(path)
    inputs, _ = _signature_inputs(None, estimator)
    return Original(
        estimator=estimator,
        inputs=inputs,
        columns=False,
        functions=dict(_functions(estimator, "predict")),
    )


def _load_skops(file: Path) -> Any:
    library = importlib.import_module("skops.io")
    # This process is made for models that run code; serving checks types by a list of its own.
    return library.load(file, trusted=library.get_untrusted_types(file=file))


def _load_pickle(file: Path) -> Any:
    with file.open("rb") as content:
        return pickle.load(content)  # noqa: S301 - confined, see child


def _signature_inputs(signature: Any, estimator: Any) -> tuple[list[Input], bool]:
    if signature is None or signature.inputs is None:
        features = getattr(estimator, "n_features_in_", None)
        if features is None or hasattr(estimator, "feature_names_in_"):
            raise Unconvertible("without a signature nobody knows what the model takes")
        return [Input(name="input-0", dtype="float64", width=int(features))], False
    specs = signature.inputs.inputs
    if signature.inputs.is_tensor_spec():
        width = specs[0].shape[-1]
        if len(specs) != 1 or len(specs[0].shape) != 2 or width < 1:
            raise Unconvertible("only a signature of one tensor with rows and columns is converted")
        name = specs[0].name or "input-0"
        return [Input(name=name, dtype=specs[0].type.name, width=width)], False
    return [_column(place, spec) for place, spec in enumerate(specs)], True


def _column(place: int, spec: Any) -> Input:
    kind = getattr(spec.type, "name", str(spec.type))
    if kind not in _COLUMNS:
        raise Unconvertible(f"column {spec.name!r} is of type {kind}")
    return Input(name=spec.name or f"input-{place}", dtype=_COLUMNS[kind], width=1)


def _functions(estimator: Any, first: str) -> list[tuple[str, str]]:
    if first not in {"predict", "predict_proba"} or not hasattr(estimator, first):
        raise Unconvertible(f"a {type(estimator).__name__} has no `{first}` to be converted")
    if not hasattr(estimator, "get_params"):
        raise Unconvertible(f"a {type(estimator).__name__} is served natively as it is")
    others = ("predict", "predict_proba")
    names = [first, *(name for name in others if name != first and hasattr(estimator, name))]
    return [(name, name) for name in names]
