# mypy: ignore-errors
"""KServe's own Python server around a joblib model; runs in KServe's environment."""

from __future__ import annotations

import sys
from typing import Any

import joblib
import kserve
from kserve import InferOutput, InferResponse, Model, ModelServer


class Served(Model):
    """Answers with the predicted labels, as KServe's server for sklearn does."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.classifier = joblib.load(path)
        self.ready = True

    def predict(self, payload: Any, *_: object, **__: object) -> Any:
        labels = self.classifier.predict(payload.inputs[0].as_numpy())
        output = InferOutput(name="label", shape=list(labels.shape), datatype="INT64")
        output.set_data_from_numpy(labels, binary_data=False)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    path, name = sys.argv[1:3]
    sys.argv[1:] = [*sys.argv[3:], "--enable_latency_logging", "False", "--workers", "1"]
    arguments, _ = kserve.model_server.parser.parse_known_args()
    ModelServer(
        http_port=arguments.http_port, grpc_port=arguments.grpc_port, enable_grpc=True, workers=1
    ).start([Served(name, path)])
