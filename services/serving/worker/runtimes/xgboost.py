"""XGBoost's own files (JSON or UBJSON).

A file that XGBClassifier wrote says so, and answers as `XGBClassifier.predict` and
`predict_proba` do; any other answers as `Booster.predict`. Categories are sent as their codes;
NaN is a missing value.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.errors import Refused
from services.serving.worker.runtimes.matrix import Layout, numeric_layout, output_names
from services.serving.worker.runtimes.mlmodel import read_mlmodel
from services.serving.worker.runtimes.runtime import TensorSpec, blank, engine, seen
from services.serving.worker.tensors import Array

_Split = Callable[[Array], list[Array]]


class XGBoostRuntime:
    """A booster on one thread."""

    platform: Final = "xgboost"

    def __init__(
        self, *, layout: Layout, predict: Callable[[Array], Array], split: _Split, names: Any
    ) -> None:
        self._layout = layout
        self._predict = predict
        self._split = split
        self.inputs = layout.inputs
        probe = self.run({spec.name: blank(spec, 1) for spec in layout.inputs})
        self.outputs: Sequence[TensorSpec] = [
            seen(name, array) for name, array in zip(names, probe, strict=True)
        ]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        return self._split(self._predict(self._layout.matrix(feed)))


def open_runtime(path: Path) -> XGBoostRuntime:
    """Raises Refused: not XGBoost's, damaged, or not what its signature says."""
    library = engine("xgboost", extra="xgboost")
    try:
        booster = library.Booster({"nthread": 1}, model_file=str(path))
        booster.set_param({"device": "cpu", "verbosity": 0})
        learner = json.loads(booster.save_config())["learner"]
        features = int(booster.num_features())
        estimator = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type")
    except (library.core.XGBoostError, ValueError, KeyError, AttributeError) as error:
        raise Refused(f"{path.name} is not a model that XGBoost loads: {_short(error)}") from error
    signature = read_mlmodel(path.parent).signature
    classes = int(learner["learner_model_param"]["num_class"])
    split = (
        _classifier(learner["objective"]["name"], classes) if estimator == "classifier" else None
    )
    functions = ["predict", "predict_proba"] if split else ["predict"]
    return XGBoostRuntime(
        layout=numeric_layout(
            signature, features=features, names=booster.feature_names or (), datatype="FP32"
        ),
        predict=_predictor(library, booster, best=estimator is not None),
        split=split or (lambda prediction: [prediction]),
        names=output_names(signature, functions),
    )


def _predictor(library: Any, booster: Any, *, best: bool) -> Callable[[Array], Array]:
    """`best`: stop at the iteration that early stopping found, as the estimators do."""
    learner = json.loads(booster.save_config())["learner"]
    linear = learner["learner_train_param"]["booster"] == "gblinear"
    last = booster.attr("best_iteration") if best and not linear else None
    trees = (0, int(last) + 1) if last is not None else (0, 0)
    if not linear:
        return lambda matrix: booster.inplace_predict(matrix, iteration_range=trees)
    names = booster.feature_names
    one_at_a_time = threading.Lock()

    def predict(matrix: Array) -> Array:
        rows = library.DMatrix(matrix, feature_names=names, nthread=1)
        with one_at_a_time:
            prediction: Array = booster.predict(rows)
        return prediction

    return predict


def _classifier(objective: str, classes: int) -> _Split | None:
    """Labels and probabilities of what the booster gives, where it gives probabilities."""
    if objective == "binary:logistic":
        return _of_one_probability
    if objective == "multi:softprob" and classes > 1:
        return lambda prediction: [np.argmax(prediction, axis=1), prediction]
    return None


def _of_one_probability(prediction: Array) -> list[Array]:
    if prediction.ndim > 1:
        return [(prediction > 0.5).astype(np.float64), prediction]
    both = np.stack([1.0 - prediction, prediction], axis=1)
    return [(prediction > 0.5).astype(np.int64), both]


def _short(error: Exception) -> str:
    """The reason without the engine's stack."""
    return str(error).partition("\nStack trace")[0].strip()[:500]
