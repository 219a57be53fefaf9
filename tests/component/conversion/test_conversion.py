"""Models converted to ONNX in a confined child process, and what the parity report says."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from headrace.confinement.landlock import landlock_version
from headrace.conversion import Limits, convert
from headrace.errors import NotFound, Refused
from services.serving.worker.model import load
from tests.harness import native_models


def _fitted(estimator: Any, *, dtype: str = "float32") -> tuple[Any, Any]:
    """The estimator, and rows that it was not fitted on."""
    train = native_models.rows(300, seed=1, missing=False).astype(dtype)
    estimator.fit(train, native_models.labels(train.astype(float)))
    return estimator, native_models.rows(50, seed=2, missing=False).astype(dtype)


def _logged(estimator: Any, example: Any, folder: Path) -> Path:
    mlflow.sklearn.save_model(
        estimator,
        str(folder / "model"),
        signature=infer_signature(example, estimator.predict(example)),
        input_example=example,
        pip_requirements=[],
        serialization_format="cloudpickle",
    )
    return folder / "model"


def test_converted_model_answers_for_the_original_under_the_same_names(tmp_path: Path) -> None:
    estimator, ask = _fitted(LogisticRegression())
    folder = _logged(estimator, ask, tmp_path)
    report = convert(folder)
    assert report.holds, report.reason
    assert (report.recorded_rows, report.sampled_rows) == (50, 2000)
    model = load(folder / "onnx/model.onnx", name="m", version=1)
    assert [(spec.name, spec.datatype) for spec in model.inputs] == [("input-0", "FP32")]
    assert [spec.name for spec in model.outputs] == ["output-0", "predict_proba"]
    label, probabilities = model.run({"input-0": ask})
    np.testing.assert_array_equal(label, estimator.predict(ask))
    np.testing.assert_allclose(probabilities, estimator.predict_proba(ask), atol=1e-5)


@pytest.mark.slow
def test_table_of_texts_and_numbers_keeps_its_columns(tmp_path: Path) -> None:
    train, ask = native_models.table(300, seed=1), native_models.table(50, seed=2)
    parts = ColumnTransformer(
        [
            ("words", OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
            ("numbers", StandardScaler(), ["hour", "distance"]),
        ]
    )
    made = Pipeline([("parts", parts), ("model", LogisticRegression())])
    made.fit(train, np.where(train.hour > 12, "late", "early"))
    folder = _logged(made, ask, tmp_path)
    report = convert(folder)
    assert report.holds, report.reason
    model = load(folder / "onnx/model.onnx", name="m", version=1)
    assert [(spec.name, spec.datatype) for spec in model.inputs] == [
        ("carrier", "BYTES"),
        ("hour", "INT64"),
        ("distance", "FP64"),
    ]
    label, _ = model.run({str(name): ask[[name]].to_numpy() for name in ask.columns})
    assert label.tolist() == made.predict(ask).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".skops", ".pkl", ".joblib"])
def test_single_file_is_converted_beside_itself(tmp_path: Path, suffix: str) -> None:
    estimator, _ = _fitted(LogisticRegression(), dtype="float64")
    path = tmp_path / f"model{suffix}"
    if suffix == ".skops":
        skops.io.dump(estimator, path)
    elif suffix == ".joblib":
        joblib.dump(estimator, path)
    else:
        path.write_bytes(pickle.dumps(estimator))
    assert convert(path).holds
    assert (tmp_path / "onnx/model.onnx").is_file()


@pytest.mark.slow
def test_conversion_that_answers_otherwise_leaves_the_model_native(tmp_path: Path) -> None:
    """Thresholds of a tree between two float32 numbers, asked with float64."""
    near = 1.0 + np.arange(200) * 1e-9
    rows = np.column_stack([near, near])
    tree = RandomForestRegressor(1, bootstrap=False).fit(np.float32(rows), np.arange(200) % 2)
    made = make_pipeline(StandardScaler(), tree).fit(rows, np.arange(200) % 2)
    path = tmp_path / "model.skops"
    skops.io.dump(made, path)
    known = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(known, index=False)
    report = convert(path, rows=known)
    assert not report.holds
    assert report.outputs[0].different > 0
    assert "rows differ, by up to" in report.reason
    assert not (tmp_path / "onnx/model.onnx").exists()
    told = json.loads((tmp_path / "onnx/parity.json").read_text())
    assert told["holds"] is False


@pytest.mark.slow
def test_known_wrong_conversion_is_found(tmp_path: Path) -> None:
    """Splits on sets of categories: converted without an error, and wrongly."""
    random = np.random.default_rng(0)
    rows = np.column_stack([random.integers(0, 20, 500), random.normal(size=500)])
    made = HistGradientBoostingClassifier(max_iter=10, categorical_features=[0])
    made.fit(rows, (rows[:, 0].astype(int) * 7 % 5 < 2).astype(int))
    skops.io.dump(made, tmp_path / "model.skops")
    known = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(known, index=False)
    report = convert(tmp_path / "model.skops", rows=known)
    assert not report.holds


def test_model_that_no_converter_knows_stays_native_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("tree\n")
    report = convert(tmp_path / "model.txt")
    assert not report.holds
    assert "expected an MLflow model folder or a file with .skops" in report.reason


@pytest.mark.slow
def test_converting_again_replaces_what_was_there(tmp_path: Path) -> None:
    estimator, _ = _fitted(LogisticRegression())
    path = tmp_path / "model.skops"
    skops.io.dump(estimator, path)
    assert convert(path).holds
    first = (tmp_path / "onnx/model.onnx").read_bytes()
    assert convert(path).holds
    assert (tmp_path / "onnx/model.onnx").read_bytes() == first


class _Reaches:
    """Pickled, it runs a function when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def test_pickle_cannot_read_what_it_should_not(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps(_Reaches(open, str(secret))))
    with pytest.raises(Refused, match="PermissionError"):
        convert(folder / "model.pkl")


def test_pickle_cannot_write_outside(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(_Reaches(open, str(tmp_path / "x"), "w")))
    with pytest.raises(Refused, match="PermissionError"):
        convert(tmp_path / "model.pkl")
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
@pytest.mark.parametrize("reach", [socket.socket, os.fork], ids=["network", "process"])
def test_pickle_reaches_no_network_and_starts_nothing(tmp_path: Path, reach: Any) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(_Reaches(reach)))
    with pytest.raises(Refused, match="PermissionError"):
        convert(tmp_path / "model.pkl")


def test_report_names_all_files_that_it_is_about(tmp_path: Path) -> None:
    estimator, ask = _fitted(LogisticRegression())
    folder = _logged(estimator, ask, tmp_path)
    names = {path.name for path in folder.iterdir()}
    report = convert(folder)
    onnx = hashlib.sha256((folder / "onnx/model.onnx").read_bytes()).hexdigest()
    model = hashlib.sha256((folder / "model.pkl").read_bytes()).hexdigest()
    assert set(report.sources) == names
    assert report.sources["model.pkl"] == f"sha256:{model}"
    assert report.onnx_digest == f"sha256:{onnx}"


def test_pickle_that_takes_all_memory_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(_Reaches(bytearray, 2**45)))
    with pytest.raises(Refused, match="MemoryError"):
        convert(tmp_path / "model.pkl")


def test_pickle_that_never_ends_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(_Reaches(eval, "[0 for _ in iter(int, 1)]")))
    with pytest.raises(Refused, match="was not converted within"):
        convert(tmp_path / "model.pkl", limits=Limits(seconds=6))


def test_missing_model_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no model at"):
        convert(tmp_path / "nothing")


def test_command_says_what_came_of_it(tmp_path: Path) -> None:
    estimator, _ = _fitted(LogisticRegression())
    skops.io.dump(estimator, tmp_path / "model.skops")
    done = subprocess.run(
        [sys.executable, "-m", "headrace.cli", "models", "convert", str(tmp_path / "model.skops")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "onnx/model.onnx answers alike on 2000 rows" in done.stdout
