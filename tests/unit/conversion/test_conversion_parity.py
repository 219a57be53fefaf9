"""Converted estimators beside the originals, on recorded and on sampled rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from headrace.conversion.graph import to_onnx
from headrace.conversion.original import Input, Original, Unconvertible
from headrace.conversion.parity import compare, questions
from headrace.conversion.report import ParityReport
from tests.harness import native_models

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "logistic": LogisticRegression,
    "scaled_ridge": lambda: make_pipeline(StandardScaler(), Ridge()),
    "forest": lambda: RandomForestClassifier(10, random_state=0),
    "boosted": lambda: GradientBoostingClassifier(n_estimators=10),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=5),
    "xgboost": lambda: XGBClassifier(n_estimators=10, n_jobs=1),
    "xgboost_in_a_pipeline": lambda: make_pipeline(StandardScaler(), XGBClassifier(n_jobs=1)),
    "xgboost_numbers": lambda: XGBRegressor(n_estimators=10, n_jobs=1),
    "lightgbm": lambda: LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1),
    "lightgbm_numbers": lambda: LGBMRegressor(n_estimators=10, n_jobs=1, verbose=-1),
}


def _original(estimator: Any, *, dtype: str, missing: bool = False) -> Original:
    train = native_models.rows(300, seed=1, missing=False).astype(dtype)
    estimator.fit(train, native_models.labels(train.astype(float)))
    functions = {"predict": "predict"}
    if hasattr(estimator, "predict_proba"):
        functions["predict_proba"] = "predict_proba"
    return Original(
        estimator=estimator,
        inputs=[Input(name="input-0", dtype=dtype, width=native_models.FEATURES)],
        columns=False,
        functions=functions,
        example=native_models.rows(50, seed=2, missing=missing).astype(dtype),
    )


def _report(original: Original) -> ParityReport:
    return compare(original, to_onnx(original), questions(original, rows=None, seed=0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_converted_estimator_answers_alike(name: str, dtype: str) -> None:
    report = _report(_original(ESTIMATORS[name](), dtype=dtype))
    assert report.holds, report.reason
    assert (report.recorded_rows, report.sampled_rows) == (50, 2000)
    numbers = [output.max_difference for output in report.outputs if output.kind == "number"]
    assert all(largest is not None and largest <= 1e-5 for largest in numbers)


@pytest.mark.parametrize("name", ["histogram", "xgboost", "lightgbm"])
def test_missing_values_go_the_same_way(name: str) -> None:
    report = _report(_original(ESTIMATORS[name](), dtype="float32", missing=True))
    assert report.missing_values
    assert report.holds, report.reason


def test_forest_that_goes_another_way_at_a_missing_value_is_found() -> None:
    report = _report(_original(ESTIMATORS["forest"](), dtype="float32", missing=True))
    assert not report.holds
    assert "rows differ" in report.reason


def test_estimator_that_no_converter_knows_says_so() -> None:
    class Own(LogisticRegression):  # type: ignore[misc]  # sklearn has no types
        """An estimator of one's own."""

    with pytest.raises(Unconvertible, match="Own cannot be converted"):
        to_onnx(_original(Own(), dtype="float32"))


def test_asking_twice_asks_the_same() -> None:
    original = _original(LogisticRegression(), dtype="float64")
    first, second = (questions(original, rows=None, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.feed["input-0"], second.feed["input-0"])
