"""A small scikit-learn model as `mlflow` saves it, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from tests.harness import native_models


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The folder, rows to ask for, and the probabilities that scikit-learn gives for them."""

    folder: Path
    rows: NDArray[np.float32]
    probabilities: NDArray[Any]


def logistic(
    folder: Path, *, written: Literal["skops", "cloudpickle"] = "skops", seed: int = 1
) -> Saved:
    """Two classes of five numbers; the rows are its input example too."""
    train = native_models.rows(300, seed=seed, missing=False).astype(np.float32)
    ask = native_models.rows(8, seed=2, missing=False).astype(np.float32)
    fitted = LogisticRegression().fit(train, native_models.labels(train.astype(float)))
    mlflow.sklearn.save_model(
        fitted,
        str(folder / "model"),
        signature=infer_signature(ask, fitted.predict(ask)),
        input_example=ask,
        pip_requirements=[],
        serialization_format=written,
    )
    return Saved(folder=folder / "model", rows=ask, probabilities=fitted.predict_proba(ask))
