"""Metric points: latest, history, duplicates, what is not a number, limits."""

from __future__ import annotations

import math

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"


@pytest.fixture
def run_id(client: MlflowClient, experiment: str) -> str:
    return str(client.create_run(experiment).info.run_id)


def points(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, int, float]]:
    return [(one.timestamp, one.step, one.value) for one in client.get_metric_history(run_id, key)]


def test_the_latest_is_the_highest_step_then_time_then_value(
    client: MlflowClient, run_id: str
) -> None:
    client.log_batch(
        run_id,
        metrics=[
            Metric("loss", 9.0, 50, 3),
            Metric("loss", 1.0, 60, 2),
            Metric("loss", 5.0, 50, 3),
        ],
    )
    client.log_metric(run_id, "loss", 0.0, timestamp=99, step=-1)
    assert client.get_run(run_id).data.metrics == {"loss": 9.0}
    assert points(client, run_id, "loss") == [(50, 3, 5.0), (50, 3, 9.0), (60, 2, 1.0), (99, -1, 0)]


def test_a_repeated_point_counts_once_however_it_comes_again(
    client: MlflowClient, run_id: str
) -> None:
    batch = [Metric("loss", float(step), step, step) for step in range(50)]
    client.log_batch(run_id, metrics=batch)
    client.log_batch(run_id, metrics=batch)
    client.log_batch(run_id, metrics=[*batch[40:], Metric("loss", 50.0, 50, 50)])
    client.log_metric(run_id, "loss", 7.0, timestamp=7, step=7)
    client.log_batch(run_id, metrics=[Metric("nan", math.nan, 1, 1), Metric("nan", math.nan, 1, 1)])
    assert points(client, run_id, "loss") == [(step, step, float(step)) for step in range(51)]
    assert len(client.get_metric_history(run_id, "nan")) == 1


def test_nan_and_infinities_come_back_as_they_went(client: MlflowClient, run_id: str) -> None:
    client.log_metric(run_id, "x", math.inf, timestamp=1, step=1)
    client.log_metric(run_id, "x", -math.inf, timestamp=2, step=2)
    client.log_metric(run_id, "x", math.nan, timestamp=3, step=3)
    assert math.isnan(client.get_run(run_id).data.metrics["x"])
    values = [one.value for one in client.get_metric_history(run_id, "x")]
    assert values[:2] == [math.inf, -math.inf]
    assert math.isnan(values[2])


def test_a_history_comes_in_pages(http: httpx.Client, client: MlflowClient, run_id: str) -> None:
    for start in range(0, 2500, 1000):
        batch = [Metric("loss", float(i), i, i) for i in range(start, min(start + 1000, 2500))]
        client.log_batch(run_id, metrics=batch)
    seen: list[float] = []
    query = {"run_id": run_id, "metric_key": "loss", "max_results": "999"}
    while True:
        page = http.get("/api/2.0/mlflow/metrics/get-history", params=query).json()
        seen.extend(one["value"] for one in page["metrics"])
        if not page.get("next_page_token"):
            break
        query["page_token"] = page["next_page_token"]
    assert seen == [float(value) for value in range(2500)]
    assert len(client.get_metric_history(run_id, "loss")) == 2500
    assert client.get_metric_history(run_id, "never logged") == []


def test_a_chart_gets_few_points_with_both_ends(
    http: httpx.Client, client: MlflowClient, run_id: str
) -> None:
    client.log_batch(run_id, metrics=[Metric("loss", float(i), i, i) for i in range(1000)])
    query = {"run_ids": run_id, "metric_key": "loss", "max_results": "10"}
    found = http.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", params=query).json()
    steps = [one["step"] for one in found["metrics"]]
    assert (len(steps), steps[0], steps[-1]) == (10, 0, 999)
    assert {one["run_id"] for one in found["metrics"]} == {run_id}


def test_a_thousand_metrics_are_one_batch_and_one_more_is_too_many(
    http: httpx.Client, run_id: str
) -> None:
    metrics = [{"key": f"m{i}", "value": i, "timestamp": 1, "step": 0} for i in range(1001)]
    fits = http.post(LOG_BATCH, json={"run_id": run_id, "metrics": metrics[:1000]})
    assert (fits.status_code, fits.json()) == (200, {})
    over = http.post(LOG_BATCH, json={"run_id": run_id, "metrics": metrics})
    assert over.status_code == 400
    assert over.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert over.json()["message"].startswith(
        "A batch logging request can contain at most 1000 metrics. Got 1001 metrics."
    )


def test_too_many_params_or_tags_or_the_same_param_twice_are_refused(
    client: MlflowClient, http: httpx.Client, run_id: str
) -> None:
    for name in ("params", "tags"):
        entries = [{"key": f"k{i}", "value": "v"} for i in range(101)]
        answer = http.post(LOG_BATCH, json={"run_id": run_id, name: entries})
        assert f"at most 100 {name}. Got 101 {name}." in answer.json()["message"]
    with pytest.raises(MlflowException, match="Duplicate parameter keys have been submitted"):
        client.log_batch(run_id, params=[Param("a", "1"), Param("a", "1")])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"key": "a", "timestamp": 1}, "Missing value for required parameter 'metrics[0].value'."),
        ({"value": 1, "timestamp": 1}, "Missing value for required parameter 'metrics[0].key'."),
        ({"key": "a", "value": 1}, "Missing value for required parameter 'metrics[0].timestamp'."),
        (
            {"key": "a", "value": "x", "timestamp": 1},
            "Invalid value \"x\" for parameter 'metrics[0].value' supplied: Please specify value",
        ),
        (
            {"key": "../a", "value": 1, "timestamp": 1},
            "Invalid value \"../a\" for parameter 'metrics[0].name' supplied: Names may be treated",
        ),
        (
            {"key": "a!", "value": 1, "timestamp": 1},
            "Invalid value \"a!\" for parameter 'metrics[0].name' supplied: Names may only contain",
        ),
        (
            {"key": "a", "value": 1, "timestamp": -1},
            "Invalid value -1 for parameter 'metrics[0].timestamp' supplied",
        ),
        (
            {"key": "a" * 251, "value": 1, "timestamp": 1},
            "'Metric name' exceeds the maximum length of 250 characters",
        ),
    ],
)
def test_a_bad_metric_is_named(
    http: httpx.Client, run_id: str, metric: dict[str, object], message: str
) -> None:
    answer = http.post(LOG_BATCH, json={"run_id": run_id, "metrics": [metric]})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert answer.json()["message"].startswith(message)


def test_long_values_are_cut_as_mlflow_cuts_them(http: httpx.Client, run_id: str) -> None:
    long = {"key": "long", "value": "x" * 9000}
    http.post(LOG_BATCH, json={"run_id": run_id, "params": [long], "tags": [long]})
    data = http.get("/api/2.0/mlflow/runs/get", params={"run_id": run_id}).json()["run"]["data"]
    assert [len(param["value"]) for param in data["params"]] == [6000]
    assert max(len(tag["value"]) for tag in data["tags"]) == 8000


def test_a_metric_of_a_model_is_kept_with_both(
    client: MlflowClient, experiment: str, run_id: str
) -> None:
    model = client.create_logged_model(experiment, name="scored", source_run_id=run_id)
    client.log_metric(
        run_id,
        "auc",
        0.5,
        timestamp=1,
        step=2,
        model_id=model.model_id,
        dataset_name="january",
        dataset_digest="d1",
    )
    client.log_batch(run_id, tags=[RunTag("t", "1")])
    assert client.get_run(run_id).data.metrics == {"auc": 0.5}
    found = client.get_logged_model(model.model_id)
    assert found.metrics is not None
    assert [(one.key, one.value, one.dataset_name, one.run_id) for one in found.metrics] == [
        ("auc", 0.5, "january", run_id)
    ]
    matching = client.search_logged_models(
        [experiment],
        filter_string="metrics.auc >= 0.5",
        datasets=[{"dataset_name": "january"}],
        order_by=[{"field_name": "metrics.auc", "ascending": False}],
    )
    assert [one.model_id for one in matching] == [model.model_id]
