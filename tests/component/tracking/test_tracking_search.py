"""Searches that an unmodified client sends and MLflow's own server would refuse; and pages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

Names = Callable[..., list[str]]


@pytest.fixture
def names(client: MlflowClient, experiment: str) -> Names:
    """The names of what a search finds among four runs of a falling and rising loss."""
    for place in range(4):
        run_id = client.create_run(experiment, run_name=f"r{place}", start_time=100 - place)
        losses = (4.0 - place, 1.0 + place, 2.0)
        client.log_batch(
            run_id.info.run_id,
            metrics=[Metric("val loss", loss, 1, step) for step, loss in enumerate(losses)],
            params=[Param("lr", ("1e-3", "0.01", "auto", "0.1")[place])],
            tags=[RunTag("team", "red" if place % 2 else "blue")],
        )
        client.set_terminated(run_id.info.run_id, end_time=200 + 10 * place)

    def find(text: str, *order: str) -> list[str]:
        found = client.search_runs([experiment], text, order_by=list(order))
        return [str(run.info.run_name) for run in found]

    return find


def test_conditions_are_joined_by_or_and_not_and_parentheses(names: Names) -> None:
    assert names("run_name = 'r0' OR run_name = 'r2'") == ["r0", "r2"]
    assert names("NOT tags.team = 'red'") == ["r0", "r2"]
    assert names("(params.lr = '0.01' OR params.lr = '0.1') AND NOT run_name = 'r1'") == ["r3"]
    assert names("NOT (tags.absent = 'x' OR run_name LIKE 'r%')") == []


def test_runs_are_chosen_and_sorted_by_statistics(names: Names) -> None:
    assert names("metrics.min(`val loss`) < 1.5", "metrics.first(`val loss`)") == ["r3", "r0"]
    assert names("", "metrics.max(`val loss`) DESC") == ["r0", "r3", "r1", "r2"]
    assert names("", "metrics.first(`val loss`) ASC") == ["r3", "r2", "r1", "r0"]
    assert names("metrics.count(`val loss`) = 3 AND metrics.min_step(`val loss`) = 1") == [
        "r0",
        "r1",
    ]
    assert names("metrics.`val loss` IN (1, 2)", "run_name DESC") == ["r3", "r2", "r1", "r0"]


def test_params_that_are_numbers_are_compared_as_numbers(names: Names) -> None:
    assert names("params.lr > 0.005") == ["r1", "r3"]
    assert names("params.lr <= 0.01") == ["r0", "r1"]
    assert names("params.lr IN (0.001, 0.1)") == ["r0", "r3"]
    assert names("NOT params.lr > 0") == ["r2"]


def test_runs_are_chosen_and_sorted_by_duration(names: Names) -> None:
    assert names("attributes.duration > 115", "attributes.duration DESC") == ["r3", "r2"]


def ids(answer: httpx.Response) -> list[str]:
    return [run["info"]["run_id"] for run in answer.json()["runs"]]


@pytest.mark.parametrize("order_by", [[], ["attributes.run_name DESC"], ["start_time ASC"]])
def test_later_pages_stay_when_a_run_comes(
    client: MlflowClient, http: httpx.Client, experiment: str, order_by: list[str]
) -> None:
    for place in range(6):
        client.create_run(experiment, run_name=f"r{place % 2}", start_time=100 + place)

    def page(size: int, token: str = "") -> httpx.Response:
        asked = {
            "experiment_ids": [experiment],
            "order_by": order_by,
            "max_results": size,
            "page_token": token,
        }
        return http.post("/api/2.0/mlflow/runs/search", json=asked)

    whole = ids(page(6))
    first = page(3)
    for name, start in (("r9", 1000), ("a", 1)):
        client.create_run(experiment, run_name=name, start_time=start)
    rest = ids(page(20, first.json()["next_page_token"]))
    assert [run_id for run_id in rest if run_id in whole] == whole[3:]
    assert not set(rest) & set(ids(first))


def test_mlflows_own_page_tokens_are_read(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    made = [client.create_run(experiment, start_time=place + 1).info.run_id for place in range(3)]
    token = base64.b64encode(b'{"offset": 2}').decode()
    asked = {"experiment_ids": [experiment], "page_token": token}
    assert ids(http.post("/api/2.0/mlflow/runs/search", json=asked)) == [made[0]]


WORDS = st.sampled_from(
    [
        *("metrics.", "params.a", "tags.`x`", "start_time", "run_id", "metrics.min(a)"),
        *("=", ">", "IN", "LIKE", "IS", "NULL", "AND", "OR", "NOT", "(", ")", ","),
        *("'x'", "1e999", "-5", "\0", "'\0'"),
    ]
)
ANYTHING = st.one_of(st.text(), st.lists(WORDS, max_size=12).map(" ".join))
NOT_FRESH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=NOT_FRESH)
@given(text=ANYTHING, order=ANYTHING, token=st.one_of(st.just(""), st.text()))
@pytest.mark.parametrize("kind", ["runs", "experiments", "logged-models"])
def test_no_search_is_answered_by_a_fault(
    http: httpx.Client, kind: str, text: str, order: str, token: str
) -> None:
    asked: dict[str, object] = {"filter": text, "page_token": token, "max_results": 5}
    if kind == "logged-models":
        asked |= {"experiment_ids": ["0"], "order_by": [{"field_name": order}]}
    else:
        asked |= {"experiment_ids": ["0"], "order_by": [order]}
    answer = http.post(f"/api/2.0/mlflow/{kind}/search", json=asked)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_searches_over_several_experiments_are_sorted_as_one(client: MlflowClient) -> None:
    homes = [str(client.create_experiment(f"several {uuid4()}")) for _ in range(2)]
    for place in range(4):
        run_id = client.create_run(homes[place % 2], run_name=f"r{place}").info.run_id
        client.log_metric(run_id, "auc", float(place))
    found = client.search_runs(homes, "metrics.auc >= 1", order_by=["metrics.auc DESC"])
    assert [run.info.run_name for run in found] == ["r3", "r2", "r1"]


def test_runs_are_aggregated_by_group(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    for place, loss in enumerate((1.0, 3.0, 5.0, float("nan"))):
        run_id = client.create_run(experiment).info.run_id
        model = "forest" if place < 3 else "linear"
        client.log_batch(
            run_id,
            metrics=[Metric("loss", loss, 1, 0), Metric("loss", 10.0, 2, 1)],
            params=[Param("model", model)],
        )
    asked = {
        "experiment_ids": [experiment],
        "filter": "attributes.status = 'RUNNING'",
        "group_by": ["params.model", "tags.absent"],
        "metrics": [{"key": "loss", "of": "first"}],
    }
    forest, linear = http.post("/api/tracking/v1/runs/aggregate", json=asked).json()["groups"]
    assert forest["group"] == {"params.model": "forest", "tags.absent": None}
    assert forest["runs"] == 3
    (loss,) = forest["metrics"]
    assert (loss["count"], loss["mean"], loss["std"]) == (3, 3.0, 2.0)
    assert (loss["min"], loss["max"]) == (1.0, 5.0)
    assert linear["runs"] == 1
    assert linear["metrics"][0] == {
        "key": "loss",
        "of": "first",
        "count": 0,
        **dict.fromkeys(("mean", "std", "min", "max")),
    }


def test_groups_are_bounded(client: MlflowClient, http: httpx.Client, experiment: str) -> None:
    for place in range(4):
        client.log_param(client.create_run(experiment).info.run_id, "seed", place % 3)
    asked = {"experiment_ids": [experiment], "group_by": ["params.seed"], "max_groups": 2}
    answer = http.post("/api/tracking/v1/runs/aggregate", json=asked).json()
    assert [group["runs"] for group in answer["groups"]] == [2, 1]
    assert answer["truncated"] is True
    wrong = http.post("/api/tracking/v1/runs/aggregate", json={"group_by": ["metrics.loss"]})
    assert wrong.status_code == 400
    assert "Invalid group_by 'metrics.loss'" in wrong.json()["message"]
