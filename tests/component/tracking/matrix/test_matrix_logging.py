"""Everything that an unmodified client logs to a run, in each way that it can."""

from __future__ import annotations

import math
import time

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

LARGEST = 1.7976931348623157e308


def test_metrics_logged_without_waiting_all_arrive(
    client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    with mlflow.start_run(experiment_id=experiment) as run:
        for step in range(40):
            mlflow.log_metric("loss", 1 / (step + 1), step=step, synchronous=False)
        mlflow.log_params({"lr": 0.1, "depth": 3}, synchronous=False)
        mlflow.set_tags({"kind": "async"}, synchronous=False)
        mlflow.flush_async_logging()
    found = client.get_run(run.info.run_id)
    assert found.data.params == {"lr": "0.1", "depth": "3"}
    assert found.data.tags["kind"] == "async"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [
        (step, 1 / (step + 1)) for step in range(40)
    ]


def test_an_asynchronous_batch_can_be_waited_for(client: MlflowClient, experiment: str) -> None:
    run_id = client.create_run(experiment).info.run_id
    operation = client.log_batch(
        run_id,
        metrics=[Metric("loss", 0.5, 1, 1)],
        params=[Param("lr", "0.1")],
        tags=[RunTag("note", "late")],
        synchronous=False,
    )
    assert operation is not None
    operation.wait()
    data = client.get_run(run_id).data
    assert (data.metrics, data.params["lr"], data.tags["note"]) == ({"loss": 0.5}, "0.1", "late")


def test_more_metrics_than_one_batch_may_hold_are_all_kept(
    client: MlflowClient, experiment: str
) -> None:
    values = {f"layer.{place}/norm": float(place) for place in range(2300)}
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_metrics(values, step=3)
    assert client.get_run(run.info.run_id).data.metrics == values


def test_more_params_than_one_batch_may_hold_are_all_kept(
    client: MlflowClient, experiment: str
) -> None:
    values = {f"p{place}": str(place) for place in range(250)}
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_params(values)
    assert client.get_run(run.info.run_id).data.params == values


def test_step_and_timestamp_travel_as_they_were_given(
    client: MlflowClient, experiment: str
) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_metric("x", 1.0, step=-5, timestamp=1)
        mlflow.log_metric("x", 2.0, step=2**62, timestamp=2**53)
        mlflow.log_metrics({"x": 3.0}, step=0, timestamp=2)
    found = client.get_metric_history(run.info.run_id, "x")
    assert [(one.timestamp, one.step, one.value) for one in found] == [
        (1, -5, 1.0),
        (2, 0, 3.0),
        (2**53, 2**62, 2.0),
    ]
    assert client.get_run(run.info.run_id).data.metrics == {"x": 2.0}


def test_nan_and_infinities_come_back(client: MlflowClient, experiment: str) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.log_metric(run_id, "nan", math.nan)
    client.log_metric(run_id, "up", math.inf)
    client.log_metric(run_id, "down", -math.inf)
    found = client.get_run(run_id).data.metrics
    assert math.isnan(found["nan"])
    assert found["up"] >= LARGEST
    assert found["down"] <= -LARGEST
    assert math.isnan(client.get_metric_history(run_id, "nan")[0].value)


def test_the_latest_is_the_largest_by_step_then_timestamp_then_value(
    client: MlflowClient, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    for value, timestamp, step in ((9.0, 5, 1), (1.0, 1, 2), (2.0, 1, 2), (math.nan, 1, 2)):
        client.log_metric(run_id, "x", value, timestamp=timestamp, step=step)
    assert client.get_run(run_id).data.metrics == {"x": 2.0}


def test_an_exact_repetition_of_a_point_is_one_point(client: MlflowClient, experiment: str) -> None:
    run_id = client.create_run(experiment).info.run_id
    for _ in range(3):
        client.log_metric(run_id, "x", 1.0, timestamp=1, step=1)
        client.log_metric(run_id, "x", math.nan, timestamp=1, step=1)
    assert len(client.get_metric_history(run_id, "x")) == 2


def test_nested_runs_know_their_parent(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment, run_name="parent") as parent:
        for place in range(2):
            with mlflow.start_run(experiment_id=experiment, run_name=f"{place}", nested=True):
                mlflow.log_metric("x", place)
    text = f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    children = client.search_runs([experiment], text, order_by=["run_name ASC"])
    assert [child.info.run_name for child in children] == ["0", "1"]
    one = client.get_parent_run(children[0].info.run_id)
    assert one is not None
    assert one.info.run_id == parent.info.run_id


def test_a_resumed_run_goes_on_where_it_was(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_metric("x", 1.0, step=1)
    with mlflow.start_run(run_id=run.info.run_id) as resumed:
        assert resumed.info.status == "RUNNING"
        mlflow.log_metric("x", 2.0, step=2)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert [one.value for one in client.get_metric_history(run.info.run_id, "x")] == [1.0, 2.0]


def test_what_the_client_says_of_itself_is_kept(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment, description="first *try*") as run:
        pass
    tags = client.get_run(run.info.run_id).data.tags
    assert tags["mlflow.note.content"] == "first *try*"
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= tags.keys()


def test_system_metrics_are_logged_while_a_run_runs(
    client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    key = "system/cpu_utilization_percentage"
    deadline = time.monotonic() + 30
    with mlflow.start_run(experiment_id=experiment, log_system_metrics=True) as run:
        while key not in client.get_run(run.info.run_id).data.metrics:
            assert time.monotonic() < deadline
    assert client.get_metric_history(run.info.run_id, key)


def test_a_deleted_run_and_experiment_come_back_whole(
    client: MlflowClient, experiment: str
) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_metric("x", 1.0)
    mlflow.delete_run(run.info.run_id)
    assert mlflow.search_runs([experiment], output_format="list") == []
    mlflow.delete_experiment(experiment)
    client.restore_experiment(experiment)
    found = mlflow.search_runs([experiment])
    assert list(found["run_id"]) == [run.info.run_id]
    assert list(found["metrics.x"]) == [1.0]


def test_the_last_active_run_is_found_by_the_fluent_client(experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_param("a", 1)
    last = mlflow.last_active_run()
    assert last is not None
    assert (last.info.run_id, last.data.params) == (run.info.run_id, {"a": "1"})


def test_an_experiment_is_set_by_name_and_tagged(client: MlflowClient) -> None:
    made = mlflow.set_experiment("matrix by name")
    mlflow.set_experiment_tags({"owner": "anna", "empty": ""})
    again = mlflow.set_experiment("matrix by name")
    assert again.experiment_id == made.experiment_id
    assert client.get_experiment(made.experiment_id).tags == {"owner": "anna", "empty": ""}
    found = mlflow.search_experiments(filter_string="tags.owner = 'anna'")
    assert [one.experiment_id for one in found] == [made.experiment_id]
