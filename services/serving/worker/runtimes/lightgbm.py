"""LightGBM's own text files: answers as `Booster.predict` does; NaN is a missing value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from headrace.errors import Refused
from services.serving.worker.runtimes.matrix import Layout, numeric_layout, output_names
from services.serving.worker.runtimes.mlmodel import read_mlmodel
from services.serving.worker.runtimes.runtime import blank, engine, seen
from services.serving.worker.tensors import Array

_HEAD: Final = b"tree\n"
_END: Final = b"\nend of trees\n"


class LightGBMRuntime:
    """A booster on one thread."""

    platform: Final = "lightgbm"

    def __init__(self, *, booster: Any, layout: Layout, output: str) -> None:
        self._booster = booster
        self._layout = layout
        self.inputs = layout.inputs
        (probe,) = self.run({spec.name: blank(spec, 1) for spec in layout.inputs})
        self.outputs = [seen(output, probe)]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        matrix = self._layout.matrix(feed)
        return [self._booster.predict(matrix, num_threads=1)]


def open_runtime(path: Path) -> LightGBMRuntime:
    """Raises Refused: not LightGBM's, cut short, or not what its signature says."""
    library = engine("lightgbm", extra="lightgbm")
    _check_whole(path)
    try:
        booster = library.Booster(model_file=str(path))
        features, names = booster.num_feature(), booster.feature_name()
    except (library.basic.LightGBMError, ValueError, KeyError, IndexError) as error:
        raise Refused(f"{path.name} is not a model that LightGBM loads: {error}") from error
    if booster.pandas_categorical:
        raise Refused(
            f"{path.name} was trained on categories of a pandas table, whose codes a request "
            "cannot name: train on codes, or convert it to ONNX"
        )
    signature = read_mlmodel(path.parent).signature
    layout = numeric_layout(signature, features=features, names=names, datatype="FP64")
    (output,) = output_names(signature, ["predict"])
    return LightGBMRuntime(booster=booster, layout=layout, output=output)


def _check_whole(path: Path) -> None:
    """LightGBM reads a file that ends in the middle without complaint."""
    content = path.read_bytes()
    if not content.startswith(_HEAD):
        raise Refused(f"{path.name} is not a model that LightGBM loads: it does not begin as one")
    if _END not in content:
        raise Refused(f"{path.name} is cut short: it has no 'end of trees'")
