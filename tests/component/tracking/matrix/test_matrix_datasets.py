"""Datasets of an unmodified client: what a run read, and how it is found again."""

from __future__ import annotations

import httpx
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import PandasDataset


def frame(name: str, rows: int = 3) -> PandasDataset:
    table = pd.DataFrame({"x": np.arange(rows), "y": np.arange(rows) % 2})
    return mlflow.data.from_pandas(table, name=name, targets="y")


def test_a_pandas_dataset_keeps_its_schema_profile_and_context(
    client: MlflowClient, experiment: str
) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_input(frame("rows"), context="training", tags={"part": "1"})
    (entry,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("rows", frame("rows").digest)
    assert '"num_rows": 3' in entry.dataset.profile
    assert "mlflow_colspec" in entry.dataset.schema
    tags = {tag.key: tag.value for tag in entry.tags}
    assert tags == {"mlflow.data.context": "training", "part": "1"}


def test_a_numpy_dataset_keeps_its_shape(client: MlflowClient, experiment: str) -> None:
    dataset = mlflow.data.from_numpy(np.zeros((4, 2)), targets=np.ones(4), name="zeros")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_input(dataset, context="eval")
    (entry,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert entry.dataset.name == "zeros"
    assert '"features_size": 8' in entry.dataset.profile


def test_several_datasets_are_logged_at_once(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_inputs(
            datasets=[frame("train", 8), frame("test", 2)],
            contexts=["training", "testing"],
            tags_list=[{}, {"held": "out"}],
        )
    entries = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert {entry.dataset.name for entry in entries} == {"train", "test"}


def test_a_dataset_is_one_over_all_runs_that_used_it(
    client: MlflowClient, experiment: str, http: httpx.Client
) -> None:
    for context in ("training", "training", "testing"):
        with mlflow.start_run(experiment_id=experiment):
            mlflow.log_input(frame("shared"), context=context)
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_input(frame("plain"))
    answer = http.post(
        "/ajax-api/2.0/mlflow/experiments/search-datasets", json={"experiment_ids": [experiment]}
    ).json()
    plain, shared = frame("plain").digest, frame("shared").digest
    assert answer["dataset_summaries"] == [
        {"experiment_id": experiment, "name": "plain", "digest": plain},
        {"experiment_id": experiment, "name": "shared", "digest": shared, "context": "testing"},
        {"experiment_id": experiment, "name": "shared", "digest": shared, "context": "training"},
    ]
    client.delete_experiment(experiment)
    gone = http.post(
        "/ajax-api/2.0/mlflow/experiments/search-datasets", json={"experiment_ids": [experiment]}
    )
    assert gone.json() == {}


def test_runs_are_found_by_their_datasets(client: MlflowClient, experiment: str) -> None:
    ids = {}
    for name in ("north", "south"):
        with mlflow.start_run(experiment_id=experiment) as run:
            mlflow.log_input(frame(name), context="training")
        ids[name] = run.info.run_id
    text = f"dataset.name = 'north' AND dataset.digest = '{frame('north').digest}'"
    found = client.search_runs([experiment], text)
    assert [run.info.run_id for run in found] == [ids["north"]]


def test_a_dataset_comes_back_as_a_source(experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_input(frame("again"))
    (entry,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    source = mlflow.data.get_source(entry)
    assert source.to_dict()["tags"]["mlflow.source.type"] == "LOCAL"
