"""Experiments, runs, params and tags as an unmodified MLflow client sees them."""

from __future__ import annotations

import time
from uuid import uuid4

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

LR_CHANGED = (
    "Changing param values is not allowed. Param with key='lr' was already logged with "
    "value='0.1' for run ID='{run_id}'. Attempted logging new value '9'."
)


def refusal(call: object) -> str:
    """The message of the error that a call raises."""
    with pytest.raises(MlflowException) as caught:
        call()  # type: ignore[operator]
    return str(caught.value)


def test_the_default_experiment_is_there(client: MlflowClient) -> None:
    found = client.get_experiment("0")
    assert (found.name, found.lifecycle_stage) == ("Default", "active")
    assert found.artifact_location == "mlflow-artifacts:/0"


def test_an_experiment_is_made_found_renamed_tagged_deleted_and_restored(
    client: MlflowClient,
) -> None:
    name = f"trip {uuid4()}"
    number = client.create_experiment(name, tags={"team": "north"})
    found = client.get_experiment_by_name(name)
    assert found is not None
    assert found.experiment_id == number
    assert found.tags == {"team": "north"}
    assert found.artifact_location == f"mlflow-artifacts:/{number}"
    client.rename_experiment(number, f"{name} again")
    client.set_experiment_tag(number, "team", "south")
    client.set_experiment_tag(number, "gone", "soon")
    client.delete_experiment_tag(number, "gone")
    found = client.get_experiment(number)
    assert (found.name, found.tags) == (f"{name} again", {"team": "south"})
    client.delete_experiment(number)
    assert client.get_experiment(number).lifecycle_stage == "deleted"
    client.restore_experiment(number)
    assert client.get_experiment(number).lifecycle_stage == "active"


def test_a_name_is_taken_also_by_a_deleted_experiment(client: MlflowClient) -> None:
    name = f"taken {uuid4()}"
    client.delete_experiment(client.create_experiment(name))
    with pytest.raises(MlflowException, match="already exists") as caught:
        client.create_experiment(name)
    assert caught.value.error_code == "RESOURCE_ALREADY_EXISTS"


def test_deleting_an_experiment_deletes_its_runs_and_restoring_brings_them_back(
    client: MlflowClient, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.delete_experiment(experiment)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    client.restore_experiment(experiment)
    assert client.get_run(run_id).info.lifecycle_stage == "active"


def test_experiments_are_searched_by_name_and_tag_in_pages(client: MlflowClient) -> None:
    mark = uuid4().hex
    for place in range(5):
        client.create_experiment(f"{mark} {place}", tags={"mark": mark, "even": str(place % 2)})
    seen: list[str] = []
    token = None
    while True:
        page = client.search_experiments(
            filter_string=f"tags.mark = '{mark}'",
            order_by=["name DESC"],
            max_results=2,
            page_token=token,
        )
        seen.extend(one.name for one in page)
        token = page.token
        if not token:
            break
    assert seen == [f"{mark} {place}" for place in (4, 3, 2, 1, 0)]
    even = client.search_experiments(filter_string=f"name LIKE '{mark}%' AND tags.even = '1'")
    assert {one.name for one in even} == {f"{mark} 1", f"{mark} 3"}


def test_a_fluent_run_keeps_everything_that_was_logged(experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment, run_name="first", tags={"a": "b"}) as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"depth": 3, "empty": ""})
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"loss": 0.25, "auc": 0.75}, step=2)
        mlflow.set_tag("note", "ü€")
    found = mlflow.get_run(run.info.run_id)
    assert found.data.params == {"lr": "0.1", "depth": "3", "empty": ""}
    assert found.data.metrics == {"loss": 0.25, "auc": 0.75}
    assert found.data.tags["note"] == "ü€"
    assert found.data.tags["a"] == "b"
    assert found.info.run_name == "first"
    assert found.info.status == "FINISHED"
    assert found.info.end_time >= found.info.start_time
    assert found.info.artifact_uri == f"mlflow-artifacts:/{experiment}/{run.info.run_id}/artifacts"


def test_a_run_is_resumed_and_fails(experiment: str) -> None:
    with mlflow.start_run(experiment_id=experiment) as run:
        pass

    def resume_and_fail() -> None:
        with mlflow.start_run(run_id=run.info.run_id):
            assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        resume_and_fail()
    assert mlflow.get_run(run.info.run_id).info.status == "FAILED"


def test_the_run_name_and_its_tag_are_one(client: MlflowClient, experiment: str) -> None:
    run = client.create_run(experiment)
    assert run.info.run_name
    assert run.data.tags["mlflow.runName"] == run.info.run_name
    client.set_tag(run.info.run_id, "mlflow.runName", "by tag")
    assert client.get_run(run.info.run_id).info.run_name == "by tag"
    client.update_run(run.info.run_id, name="by update")
    assert client.get_run(run.info.run_id).data.tags["mlflow.runName"] == "by update"
    message = refusal(
        lambda: client.create_run(experiment, run_name="one", tags={"mlflow.runName": "two"})
    )
    assert "Both 'run_name' argument and 'mlflow.runName' tag are specified" in message


def test_a_param_is_written_once(client: MlflowClient, experiment: str) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.log_param(run_id, "lr", 0.1)
    client.log_param(run_id, "lr", 0.1)
    message = refusal(lambda: client.log_param(run_id, "lr", 9))
    assert LR_CHANGED.format(run_id=run_id) in message
    message = refusal(
        lambda: client.log_batch(
            run_id, metrics=[Metric("loss", 1, 1, 1)], params=[Param("lr", "9")]
        )
    )
    assert (
        "Params were already logged='[{'key': 'lr', 'old_value': '0.1', 'new_value': '9'}]' "
        f"for run ID='{run_id}'."
    ) in message


def test_a_refused_batch_leaves_nothing(client: MlflowClient, experiment: str) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.log_param(run_id, "lr", "0.1")
    with pytest.raises(MlflowException):
        client.log_batch(
            run_id,
            metrics=[Metric("loss", 1.0, 1, 1)],
            params=[Param("fresh", "1"), Param("lr", "2")],
            tags=[RunTag("fresh", "1")],
        )
    data = client.get_run(run_id).data
    assert data.params == {"lr": "0.1"}
    assert data.metrics == {}
    assert "fresh" not in data.tags


def test_tags_change_and_go(client: MlflowClient, experiment: str) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.set_tag(run_id, "stage", "one")
    client.set_tag(run_id, "stage", "two")
    assert client.get_run(run_id).data.tags["stage"] == "two"
    client.delete_tag(run_id, "stage")
    message = refusal(lambda: client.delete_tag(run_id, "stage"))
    assert f"No tag with name: stage in run with id {run_id}" in message


def test_a_deleted_run_takes_nothing_until_it_is_restored(
    client: MlflowClient, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    client.delete_run(run_id)
    message = refusal(lambda: client.log_metric(run_id, "loss", 1.0))
    assert f"The run {run_id} must be in the 'active' state. Current state is deleted." in message
    client.restore_run(run_id)
    client.log_metric(run_id, "loss", 1.0)
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}


def test_runs_are_searched_by_everything_that_was_logged(
    client: MlflowClient, experiment: str
) -> None:
    for place in range(4):
        run_id = client.create_run(experiment, run_name=f"run {place}").info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric("auc", place / 10, 1, 0)],
            params=[Param("model", "Linear" if place < 2 else "forest")],
            tags=[RunTag("odd key", str(place))],
        )

    def names(text: str, order: list[str] | None = None) -> list[str]:
        found = client.search_runs([experiment], text, order_by=order or ["metrics.auc ASC"])
        return [run.info.run_name for run in found]

    assert names("metrics.auc > 0.1") == ["run 2", "run 3"]
    assert names("metrics.auc > 0.05 AND params.model = 'Linear'") == ["run 1"]
    assert names("params.model ILIKE 'lin%'") == ["run 0", "run 1"]
    assert names("params.model LIKE 'lin%'") == []
    assert names("tags.\"odd key\" = '3'") == ["run 3"]
    assert names("tags.`odd key` != '3'", ["metrics.auc DESC"]) == ["run 2", "run 1", "run 0"]
    assert names("attributes.run_name = 'run 2'") == ["run 2"]
    assert names("params.absent IS NULL AND run_name LIKE 'run%'") == [f"run {i}" for i in range(4)]
    assert names("status = 'FINISHED'") == []


def test_search_runs_sorts_numbers_then_nan_then_missing(
    client: MlflowClient, experiment: str
) -> None:
    for name, value in (("low", 1.0), ("high", 2.0), ("nan", float("nan")), ("missing", None)):
        run_id = client.create_run(experiment, run_name=name).info.run_id
        if value is not None:
            client.log_metric(run_id, "x", value)

    def names(text: str, order: str) -> list[str]:
        found = client.search_runs([experiment], text, order_by=[order])
        return [run.info.run_name for run in found]

    assert names("", "metrics.x ASC") == ["low", "high", "nan", "missing"]
    assert names("", "metrics.x DESC") == ["high", "low", "nan", "missing"]
    assert names("metrics.x > -100", "metrics.x ASC") == ["low", "high"]
    assert names("metrics.x != 1", "metrics.x ASC") == ["high", "nan"]


def test_search_runs_pages_and_knows_stages(client: MlflowClient, experiment: str) -> None:
    ids = [client.create_run(experiment, start_time=place + 1).info.run_id for place in range(5)]
    client.delete_run(ids[2])
    first = client.search_runs([experiment], max_results=3)
    assert [run.info.run_id for run in first] == [ids[4], ids[3], ids[1]]
    rest = client.search_runs([experiment], max_results=3, page_token=first.token)
    assert [run.info.run_id for run in rest] == [ids[0]]
    assert not rest.token
    gone = client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)
    assert [run.info.run_id for run in gone] == [ids[2]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("foo.bar = 'x'", "Invalid entity type 'foo'. Valid values are ['metric', 'parameter'"),
        ("attribute.nope = 'x'", "Invalid attribute key 'nope' specified. Valid keys are"),
        ("metrics.auc = 'x'", "Expected numeric value type for metric. Found 'x'"),
        ("params.lr = 5", "Expected a quoted string value for parameter (e.g. 'my-value')"),
        ("metrics.auc > 1 XOR metrics.auc < 0", "Invalid clause(s) in filter string"),
        ("params.lr > '1'", "Invalid comparator '>' not one of"),
    ],
)
def test_a_wrong_filter_is_refused_in_mlflows_words(
    client: MlflowClient, experiment: str, text: str, expected: str
) -> None:
    assert expected in refusal(lambda: client.search_runs([experiment], text))


def test_unknown_things_are_named_in_mlflows_words(client: MlflowClient) -> None:
    assert "Run with id=nope not found" in refusal(lambda: client.get_run("nope"))
    assert "No Experiment with id=999999 exists" in refusal(lambda: client.get_experiment("999999"))
    assert client.get_experiment_by_name(f"never {uuid4()}") is None
    with pytest.raises(MlflowException) as caught:
        client.log_metric("nope", "loss", 1.0)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_inputs_are_deduplicated_and_shown_with_the_run(experiment: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1, 2], "y": [0, 1]})
    dataset = mlflow.data.from_pandas(frame, name="pairs", targets="y")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_input(dataset, context="training")
        mlflow.log_input(dataset, context="training")
    inputs = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert [(one.dataset.name, one.tags[0].value) for one in inputs] == [("pairs", "training")]
    found = mlflow.search_runs(
        [experiment],
        filter_string="datasets.name = 'pairs' AND dataset.context IN ('training', 'x')",
        output_format="list",
    )
    assert [one.info.run_id for one in found] == [run.info.run_id]


def test_a_run_takes_a_long_time_of_small_steps_in_order(
    client: MlflowClient, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    now = int(time.time() * 1000)
    for step in range(30):
        client.log_metric(run_id, "loss", 1 / (step + 1), timestamp=now + step, step=step)
    history = client.get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in history] == [
        (step, 1 / (step + 1)) for step in range(30)
    ]
