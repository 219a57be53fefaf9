"""The models that all servers serve, as ONNX and as joblib, and requests for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from headrace.rpc.inference import open_inference_pb2 as oip

COLUMNS: Final = 20
INPUT: Final = "X"


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """One classifier under both names of its trade, and what it says of the row that is asked."""

    name: str
    classifier: Any
    label: int

    @property
    def onnx(self) -> bytes:
        sample = np.zeros((1, COLUMNS), np.float32)
        options = {"zipmap": False}
        made = to_onnx(self.classifier, sample, options=options, target_opset=17)
        return bytes(made.SerializeToString())

    def write(self, directory: Path) -> Path:
        """The joblib file, as MLServer and KServe load it."""
        path = directory / f"{self.name}.joblib"
        joblib.dump(self.classifier, path)
        return path


def row() -> np.ndarray[Any, np.dtype[np.float32]]:
    """The row that every request asks about."""
    return np.linspace(-1, 1, COLUMNS, dtype=np.float32).reshape(1, COLUMNS)


def fitted(name: str, *, seed: int = 1) -> Fitted:
    """`lr` is a logistic regression, `forest` a random forest of 100 trees."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(1000, COLUMNS)).astype(np.float32)
    y = (x[:, 0] + random.normal(size=1000) > 0).astype(int)
    kinds = {
        "lr": LogisticRegression(),
        "forest": RandomForestClassifier(100, max_depth=8, random_state=seed),
    }
    classifier = kinds[name].fit(x, y)
    return Fitted(name=name, classifier=classifier, label=int(classifier.predict(row())[0]))


def message(model: str) -> bytes:
    """A gRPC message with the row as a raw tensor; its id makes all its answers the same."""
    request = oip.ModelInferRequest(model_name=model, id="bench")
    request.raw_input_contents.append(row().tobytes())
    request.inputs.add(name=INPUT, datatype="FP32", shape=[1, COLUMNS])
    body = request.SerializeToString()
    return b"\0" + len(body).to_bytes(4, "big") + body
