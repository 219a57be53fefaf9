"""Logged models of an unmodified client, from their making to their search."""

from __future__ import annotations

from collections.abc import Callable

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression


def doubled(model_input: list[float]) -> list[float]:
    """A model in plain Python."""
    return [2 * value for value in model_input]


def test_a_pyfunc_model_is_logged_loaded_and_asked(experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment):
        info = mlflow.pyfunc.log_model(
            name="doubler",
            python_model=doubled,
            pip_requirements=["mlflow"],
            metadata={"team": "north"},
        )
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    assert loaded.predict([1.0, 2.5]) == [2.0, 5.0]
    assert loaded.metadata.metadata == {"team": "north"}


def test_a_model_that_lives_elsewhere_is_noted(client: MlflowClient, experiment: str) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    model = mlflow.create_external_model(
        name="remote", model_type="agent", params={"t": "0.2"}, tags={"owner": "anna"}
    )
    found = client.get_logged_model(model.model_id)
    assert found.status == LoggedModelStatus.READY
    assert (found.model_type, found.params["t"], found.tags["owner"]) == ("agent", "0.2", "anna")


def test_a_model_is_begun_and_finished_in_steps(client: MlflowClient, experiment: str) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    model = mlflow.initialize_logged_model(name="slow", tags={"a": "1"})
    assert client.get_logged_model(model.model_id).status == LoggedModelStatus.PENDING
    mlflow.log_model_params({f"p{place}": str(place) for place in range(150)}, model.model_id)
    mlflow.set_logged_model_tags(model.model_id, {"a": "2", "b": "3"})
    mlflow.delete_logged_model_tag(model.model_id, "b")
    done = mlflow.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    assert (done.status, len(done.params), done.tags["a"]) == (LoggedModelStatus.READY, 150, "2")
    assert "b" not in done.tags


def test_metrics_of_a_model_are_kept_with_run_and_dataset(
    client: MlflowClient, experiment: str
) -> None:
    dataset = mlflow.data.from_pandas(pd.DataFrame({"x": [1]}), name="held out")
    with mlflow.start_run(experiment_id=experiment) as run:
        model = mlflow.initialize_logged_model(name="measured")
        mlflow.log_metric("auc", 0.9, step=1, model_id=model.model_id, dataset=dataset)
        mlflow.log_metrics({"loss": 0.1, "f1": 0.8}, model_id=model.model_id)
    metrics = {one.key: one for one in client.get_logged_model(model.model_id).metrics}
    assert {key: one.value for key, one in metrics.items()} == {"auc": 0.9, "loss": 0.1, "f1": 0.8}
    assert metrics["auc"].run_id == run.info.run_id
    assert metrics["auc"].dataset_name == "held out"
    assert metrics["auc"].dataset_digest == dataset.digest
    assert client.get_run(run.info.run_id).data.metrics == {"auc": 0.9, "loss": 0.1, "f1": 0.8}


def test_models_are_searched_by_metric_on_a_dataset_and_sorted(
    client: MlflowClient, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    for name, value in (("low", 0.2), ("high", 0.8), ("middle", 0.5)):
        model = client.create_logged_model(experiment, name=name, params={"kind": "tree"})
        client.log_metric(
            run_id, "auc", value, model_id=model.model_id, dataset_name="d", dataset_digest="1"
        )
    found = mlflow.search_logged_models(
        [experiment],
        "metrics.auc > 0.3 AND params.kind = 'tree'",
        datasets=[{"dataset_name": "d"}],
        order_by=[{"field_name": "metrics.auc", "ascending": False, "dataset_name": "d"}],
        output_format="list",
    )
    assert [model.name for model in found] == ["high", "middle"]
    other = client.search_logged_models(
        [experiment], "metrics.auc > 0.3", datasets=[{"dataset_name": "other"}]
    )
    assert list(other) == []


def test_models_are_inputs_and_outputs_of_runs(client: MlflowClient, experiment: str) -> None:
    model_id = client.create_logged_model(experiment, name="passed on").model_id
    maker, user = (client.create_run(experiment).info.run_id for _ in range(2))
    client.log_outputs(maker, [LoggedModelOutput(model_id, step=7)])
    client.log_inputs(user, models=[LoggedModelInput(model_id)])
    outputs = client.get_run(maker).outputs.model_outputs
    assert [(one.model_id, one.step) for one in outputs] == [(model_id, 7)]
    assert [one.model_id for one in client.get_run(user).inputs.model_inputs] == [model_id]


def test_checkpoints_are_models_of_one_run_by_step(client: MlflowClient, experiment: str) -> None:
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 2.0, 4.0])
    with mlflow.start_run(experiment_id=experiment) as run:
        for step in (10, 20):
            mlflow.sklearn.log_model(
                LinearRegression().fit(x, y),
                name=f"checkpoint-{step}",
                step=step,
                signature=infer_signature(x, y),
                pip_requirements=["scikit-learn"],
            )
            active = mlflow.last_logged_model()
            assert active is not None
            mlflow.log_metric("loss", 1 / step, step=step, model_id=active.model_id)
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    assert sorted(one.step for one in outputs) == [10, 20]
    best = client.search_logged_models(
        [experiment], order_by=[{"field_name": "metrics.loss", "ascending": True}], max_results=1
    )
    assert [model.name for model in best] == ["checkpoint-20"]


def test_a_batch_of_points_may_belong_to_models(client: MlflowClient, experiment: str) -> None:
    model_id = client.create_logged_model(experiment, name="in a batch").model_id
    run_id = client.create_run(experiment).info.run_id
    points = [Metric("x", float(step), step, step, model_id=model_id) for step in range(5)]
    client.log_batch(run_id, metrics=points)
    client.log_batch(run_id, metrics=points)
    kept = client.get_logged_model(model_id).metrics
    assert [(one.step, one.value) for one in kept] == [(step, float(step)) for step in range(5)]


def test_a_deleted_model_is_gone_for_every_call(client: MlflowClient, experiment: str) -> None:
    model_id = client.create_logged_model(experiment).model_id
    client.delete_logged_model(model_id)
    calls: list[Callable[[], object]] = [
        lambda: client.get_logged_model(model_id),
        lambda: client.delete_logged_model(model_id),
        lambda: client.finalize_logged_model(model_id, LoggedModelStatus.READY),
    ]
    for call in calls:
        with pytest.raises(MlflowException, match="not found") as caught:
            call()
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
