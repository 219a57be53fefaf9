"""A real pipeline with strings and numbers, converted by skl2onnx, answers as sklearn does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tritonclient.grpc as triton
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from services.serving.worker.fronts import Kind
from tests.harness.data_plane import data_plane

WORDS = ["carrier", "origin"]
NUMBERS = ["hour", "distance"]


def _rows(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "carrier": random.choice(["UA", "DL", "B6", "é"], count),
            "origin": random.choice(["EWR", "JFK", "LGA"], count),
            "hour": random.integers(0, 24, count).astype(np.float32),
            "distance": random.normal(1000, 300, count).astype(np.float32),
        }
    )


def _fitted() -> Any:
    rows = _rows(500, seed=1)
    late = (rows.hour > 12) ^ (rows.carrier == "UA")
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(handle_unknown="ignore"), WORDS),
            ("numbers", StandardScaler(), NUMBERS),
        ]
    )
    return Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(rows, late)


def _onnx(fitted: Any) -> bytes:
    types = [(name, StringTensorType([None, 1])) for name in WORDS]
    types += [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    options = {id(fitted): {"zipmap": False}}
    converted = to_onnx(fitted, initial_types=types, options=options, target_opset=17)
    data: bytes = converted.SerializeToString()
    return data


def _inputs(rows: pd.DataFrame) -> list[triton.InferInput]:
    inputs = []
    for name in (*WORDS, *NUMBERS):
        kind = "BYTES" if name in WORDS else "FP32"
        tensor = triton.InferInput(name, [len(rows), 1], kind)
        values = rows[name].to_numpy().reshape(-1, 1)
        if kind == "BYTES":
            values = np.array([[text.encode()] for text in rows[name]], dtype=object)
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs


@pytest.mark.parametrize("kind", ["native", "grpcio"])
def test_probabilities_are_sklearns(tmp_path: Path, kind: Kind) -> None:
    fitted = _fitted()
    plane = data_plane(tmp_path)
    plane.answer_with({"late": plane.load("late", 1, _onnx(fitted))})
    rows = _rows(200, seed=2)
    rows.loc[0, "carrier"] = "never seen"
    with (
        plane.listening(kind) as front,
        triton.InferenceServerClient(f"127.0.0.1:{front.port}") as client,
    ):
        result = client.infer("late", _inputs(rows))
    names = [output.name for output in result.get_response().outputs]
    probabilities = result.as_numpy(names[1])
    np.testing.assert_allclose(probabilities, fitted.predict_proba(rows), atol=1e-5)
    (entry,) = plane.log.take()
    assert len(entry.outputs) == 2
    assert np.frombuffer(entry.outputs[1], "<f4").reshape(200, 2)[3, 1] == probabilities[3, 1]
