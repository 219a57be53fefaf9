"""Training libraries that log by themselves, and loops that log as Lightning's logger does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightgbm
import mlflow
import numpy as np
import pytest
import xgboost
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROUNDS = 5


@pytest.fixture(autouse=True)
def _no_autolog_afterwards() -> Iterator[None]:
    yield
    mlflow.autolog(disable=True)


@pytest.fixture
def rows() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A separable problem: features of shape (80, 3), labels 0 or 1."""
    draw = np.random.default_rng(7)
    x = draw.normal(size=(80, 3))
    return x, (x[:, 0] + 0.1 * x[:, 1] > 0).astype(np.int64)


def test_a_pipeline_is_logged_with_its_model_and_loaded(
    client: MlflowClient, experiment: str, rows: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    x, y = rows
    mlflow.sklearn.autolog(log_input_examples=True, serialization_format="cloudpickle")
    with mlflow.start_run(experiment_id=experiment) as run:
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(x, y)
    found = client.get_run(run.info.run_id)
    assert found.data.params["logisticregression__C"] == "0.5"
    assert "training_f1_score" in found.data.metrics
    assert found.data.tags["estimator_name"] == "Pipeline"
    (output,) = found.outputs.model_outputs
    loaded = mlflow.sklearn.load_model(f"models:/{output.model_id}")
    assert list(loaded.predict(x)) == list(fitted.predict(x))
    model = client.get_logged_model(output.model_id)
    assert "training_f1_score" in {metric.key for metric in model.metrics}


def test_a_grid_search_is_a_parent_with_its_best_children(
    client: MlflowClient, experiment: str, rows: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    mlflow.sklearn.autolog(log_models=False, max_tuning_runs=2)
    with mlflow.start_run(experiment_id=experiment) as run:
        GridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1.0]}, cv=2).fit(*rows)
    parent = client.get_run(run.info.run_id)
    assert "best_C" in parent.data.params
    assert "best_cv_score" in parent.data.metrics
    children = client.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{run.info.run_id}'", order_by=["params.C"]
    )
    assert len(children) == 2
    assert all("mean_test_score" in child.data.metrics for child in children)
    paths = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert "cv_results.csv" in paths


def test_xgboost_logs_every_round(
    client: MlflowClient, experiment: str, rows: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    x, y = rows
    mlflow.xgboost.autolog(log_models=False)
    data = xgboost.DMatrix(x, label=y)
    with mlflow.start_run(experiment_id=experiment) as run:
        xgboost.train(
            {"objective": "binary:logistic", "max_depth": 2, "nthread": 1},
            data,
            num_boost_round=ROUNDS,
            evals=[(data, "train")],
            verbose_eval=False,
        )
    assert_every_round(client, run.info.run_id, "train-logloss")
    assert client.get_run(run.info.run_id).data.params["max_depth"] == "2"


def test_lightgbm_logs_every_round(
    client: MlflowClient, experiment: str, rows: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    x, y = rows
    mlflow.lightgbm.autolog(log_models=False)
    data = lightgbm.Dataset(x, label=y)
    with mlflow.start_run(experiment_id=experiment) as run:
        lightgbm.train(
            {"objective": "binary", "num_leaves": 3, "verbose": -1, "num_threads": 1},
            data,
            num_boost_round=ROUNDS,
            valid_sets=[data],
            valid_names=["train"],
        )
    assert_every_round(client, run.info.run_id, "train-binary_logloss")
    assert client.get_run(run.info.run_id).data.params["num_leaves"] == "3"


def test_a_lightning_style_loop_logs_steps_checkpoints_and_hyperparameters(
    client: MlflowClient, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    run_id = client.create_run(experiment, run_name="lightning", tags={"kind": "net"}).info.run_id
    hyperparameters = [Param("model/width", "64"), Param("optimizer/lr", "0.001")]
    client.log_batch(run_id, params=hyperparameters, synchronous=True)
    for epoch in range(3):
        for step in range(epoch * 10, epoch * 10 + 10):
            metrics = [
                Metric("train_loss", 1 / (step + 1), step, step),
                Metric("epoch", epoch, step, step),
            ]
            client.log_batch(run_id, metrics=metrics, synchronous=False)
        checkpoint = tmp_path / f"epoch={epoch}.ckpt"
        checkpoint.write_bytes(bytes([epoch]) * 1000)
        client.log_artifact(run_id, str(checkpoint), f"checkpoints/epoch_{epoch}")
    mlflow.flush_async_logging()
    client.set_terminated(run_id, "FINISHED")
    found = client.get_run(run_id)
    assert found.data.params == {"model/width": "64", "optimizer/lr": "0.001"}
    assert found.data.metrics == {"train_loss": 1 / 30, "epoch": 2.0}
    history = client.get_metric_history(run_id, "train_loss")
    assert [point.step for point in history] == list(range(30))
    last = client.download_artifacts(run_id, "checkpoints/epoch_2/epoch=2.ckpt", str(tmp_path))
    assert Path(last).read_bytes() == bytes([2]) * 1000


def assert_every_round(client: MlflowClient, run_id: str, key: str) -> None:
    values = client.get_metric_history(run_id, key)
    assert [point.step for point in values] == list(range(ROUNDS))
    assert values[-1].value < values[0].value
