"""scikit-learn estimators in skops files, made of types of the server's own list only.

Answers as `predict` does and, where there is one, `predict_proba`. Without a signature there is
one FP64 input of all features; an estimator that was fitted on named columns needs a signature,
which says what they hold.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.errors import Refused
from services.serving.worker.runtimes.allowed import ALLOWED_TYPES
from services.serving.worker.runtimes.matrix import Layout, OneTensor, output_names
from services.serving.worker.runtimes.mlmodel import MlModel, Signature, read_mlmodel
from services.serving.worker.runtimes.runtime import TensorSpec, blank, engine, seen
from services.serving.worker.tensors import Array

_EXTRA: Final = "sklearn"
_MAX_MEMBERS: Final = 100_000
_MAX_UNPACKED: Final = 2 * 1024**3
_MAX_RATIO: Final = 200
_SMALL: Final = 64 * 1024**2
"""Below this a file may unpack to any multiple of its size."""
_FUNCTIONS: Final = ("predict", "predict_proba")


class SkopsRuntime:
    """An estimator; everything in it computes in the calling thread."""

    platform: Final = "sklearn"

    def __init__(
        self, *, layout: Layout, functions: Sequence[Callable[[Any], Any]], names: Sequence[str]
    ) -> None:
        self._layout = layout
        self._functions = functions
        self.inputs = layout.inputs
        probe = self.run({spec.name: blank(spec, 1) for spec in layout.inputs})
        self.outputs = [seen(name, array) for name, array in zip(names, probe, strict=True)]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        rows = self._layout.matrix(feed)
        return [np.asarray(function(rows)) for function in self._functions]


class _Table:
    """A table with a column for each input, as the estimator was fitted on."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.inputs = list(specs)
        self._frame = engine("pandas", extra=_EXTRA).DataFrame

    def matrix(self, feed: Mapping[str, Array]) -> Any:
        """See Layout."""
        return self._frame({spec.name: feed[spec.name][:, 0] for spec in self.inputs})


def open_runtime(path: Path) -> SkopsRuntime:
    """Raises Refused: not skops, damaged, a bomb, a type that is not allowed, no `predict`."""
    library = engine("skops.io", extra=_EXTRA)
    _check_archive(path)
    try:
        unknown = library.get_untrusted_types(file=path)
        _check_allowed(path, unknown)
        estimator = library.load(path, trusted=unknown)
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{path.name} is not a model that skops loads: {error!r}") from error
    return estimator_runtime(path, estimator)


def estimator_runtime(path: Path, estimator: Any) -> SkopsRuntime:
    """A loaded estimator; the signature lies in the folder of `path`. Raises Refused."""
    _stay_in_this_thread(estimator)
    about = read_mlmodel(path.parent)
    layout = _layout(path, estimator, about.signature)
    names = _functions(path, estimator, about)
    try:
        return SkopsRuntime(
            layout=layout,
            functions=[getattr(estimator, name) for name in names],
            names=output_names(about.signature, names),
        )
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{path.name} fails on a blank row: {error}") from error


def _check_allowed(path: Path, unknown: Sequence[str]) -> None:
    refused = sorted(set(unknown) - set(ALLOWED_TYPES))
    if refused:
        raise Refused(
            f"{path.name} has types that this server does not allow: {', '.join(refused[:10])}"
        )


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise Refused(f"{path.name} is not a model that skops loads: {error}") from error
    unpacked = sum(member.file_size for member in members)
    most = min(_MAX_UNPACKED, max(_SMALL, _MAX_RATIO * path.stat().st_size))
    if len(members) > _MAX_MEMBERS or unpacked > most:
        raise Refused(
            f"{path.name} unpacks to {unpacked} bytes in {len(members)} files; a file of its size "
            f"may unpack to {most} bytes in {_MAX_MEMBERS} files"
        )


def _stay_in_this_thread(estimator: Any) -> None:
    engine("threadpoolctl", extra=_EXTRA).threadpool_limits(1)
    parameters: Mapping[str, Any] = getattr(estimator, "get_params", dict)()
    several = {
        name: 1
        for name, value in parameters.items()
        if value is not None and (name == "n_jobs" or name.endswith("__n_jobs"))
    }
    if several:
        estimator.set_params(**several)


def _layout(path: Path, estimator: Any, signature: Signature | None) -> Layout:
    if signature is not None and signature.columns:
        return _Table(signature.inputs)
    if signature is not None:
        if len(signature.inputs) != 1:
            raise Refused(f"the signature has {len(signature.inputs)} tensors, expected one")
        return OneTensor(signature.inputs[0])
    if hasattr(estimator, "feature_names_in_"):
        raise Refused(
            f"{path.name} was fitted on named columns: log it with MLflow and a signature, which "
            "says what they hold"
        )
    features = getattr(estimator, "n_features_in_", None)
    if features is None:
        raise Refused(f"{path.name} does not say how many features it takes: is it fitted?")
    return OneTensor(TensorSpec(name="input-0", datatype="FP64", shape=(-1, int(features))))


def _functions(path: Path, estimator: Any, about: MlModel) -> list[str]:
    """What is asked of the estimator; first what MLflow would ask."""
    first = about.flavors.get("sklearn", {}).get("pyfunc_predict_fn", "predict")
    if first not in _FUNCTIONS or not hasattr(estimator, first):
        raise Refused(
            f"{path.name}: a {type(estimator).__name__} has no `{first}` to be served"
            if first in _FUNCTIONS
            else f"{path.name}: `{first}` cannot be served, only {' and '.join(_FUNCTIONS)}"
        )
    if isinstance(getattr(estimator, "classes_", None), list):
        return [first]  # several targets: the probabilities of each are an array of their own
    return [first, *(name for name in _FUNCTIONS if name != first and hasattr(estimator, name))]
