"""Logged models: what `log_model` and `load_model` of an unmodified client need."""

from __future__ import annotations

import mlflow
import numpy as np
import onnx
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression


def doubler() -> onnx.ModelProto:
    """An ONNX model that doubles its input."""
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def test_an_onnx_model_is_logged_and_answers_when_loaded(
    client: MlflowClient, experiment: str
) -> None:
    sample = np.array([[1.0], [2.5]], dtype=np.float32)
    with mlflow.start_run(experiment_id=experiment) as run:
        info = mlflow.onnx.log_model(
            doubler(),
            name="doubler",
            signature=infer_signature(sample, sample),
            pip_requirements=["onnxruntime"],  # inferring them starts another Python
        )
    model = client.get_logged_model(info.model_id)
    assert model.status == LoggedModelStatus.READY
    assert model.source_run_id == run.info.run_id
    assert model.artifact_location == (
        f"mlflow-artifacts:/{experiment}/models/{info.model_id}/artifacts"
    )
    outputs = mlflow.get_run(run.info.run_id).outputs.model_outputs
    assert [one.model_id for one in outputs] == [info.model_id]
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    assert np.allclose(loaded.predict(sample)["y"], sample * 2)
    assert mlflow.onnx.load_model(f"runs:/{run.info.run_id}/doubler").graph.name == "doubler"


def test_a_sklearn_model_is_logged_with_params_and_loaded(
    client: MlflowClient, experiment: str
) -> None:
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    fitted = LogisticRegression().fit(x, y)
    with mlflow.start_run(experiment_id=experiment):
        info = mlflow.sklearn.log_model(
            fitted,
            name="classifier",
            signature=infer_signature(x, y),
            params={"c": "1"},
            tags={"kind": "lr"},
            pip_requirements=["scikit-learn"],
        )
    loaded = mlflow.sklearn.load_model(info.model_uri)
    assert list(loaded.predict(x)) == list(fitted.predict(x))
    model = client.get_logged_model(info.model_id)
    assert model.params == {"c": "1"}
    assert model.tags["kind"] == "lr"


def test_autolog_of_sklearn_records_a_whole_training(experiment: str) -> None:
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run(experiment_id=experiment) as run:
            x, y = np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 1])
            LogisticRegression(C=0.5).fit(x, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = mlflow.get_run(run.info.run_id)
    assert found.data.params["C"] == "0.5"
    assert "training_accuracy_score" in found.data.metrics
    assert [one.tags[0].value for one in found.inputs.dataset_inputs] == ["train"]


def test_models_are_searched_tagged_failed_and_deleted(
    client: MlflowClient, experiment: str
) -> None:
    ids = [
        client.create_logged_model(
            experiment, name=f"m{place}", params={"p": str(place)}, tags={"t": "x"}
        ).model_id
        for place in range(3)
    ]
    client.set_logged_model_tags(ids[0], {"t": "y", "extra": "1"})
    client.delete_logged_model_tag(ids[0], "extra")
    client.log_model_params(ids[0], {"q": "9"})
    assert client.get_logged_model(ids[0]).tags == {"t": "y"}
    assert client.get_logged_model(ids[0]).params == {"p": "0", "q": "9"}
    client.finalize_logged_model(ids[1], LoggedModelStatus.FAILED)
    assert client.get_logged_model(ids[1]).status == LoggedModelStatus.FAILED

    def found(text: str) -> list[str]:
        order = [{"field_name": "name", "ascending": True}]
        models = client.search_logged_models([experiment], text, order_by=order)
        return [one.name for one in models]

    assert found("tags.t = 'x'") == ["m1", "m2"]
    assert found("params.p = '0'") == ["m0"]
    assert found("name IN ('m0', 'm2')") == ["m0", "m2"]
    page = client.search_logged_models([experiment], max_results=2)
    assert len(page) == 2
    assert len(client.search_logged_models([experiment], page_token=page.token)) == 1
    client.delete_logged_model(ids[2])
    assert found("") == ["m0", "m1"]
    with pytest.raises(MlflowException, match=f"Logged model with ID '{ids[2]}' not found"):
        client.get_logged_model(ids[2])
