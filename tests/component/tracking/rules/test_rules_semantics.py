"""What calls do to experiments, runs and models, where MLflow's manual is silent."""

from __future__ import annotations

import base64
from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.component.tracking.rules.known import API, Known, refused

NEVER: Final = "f" * 32


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and error code."""
    return answer.status_code, str(answer.json().get("error_code", ""))


def run_of(http: httpx.Client, run_id: str) -> dict[str, dict[str, object]]:
    found = http.get(f"{API}/runs/get", params={"run_id": run_id})
    document: dict[str, dict[str, object]] = found.json()["run"]
    return document


@pytest.mark.parametrize("base", ["/api", "/ajax-api"])
def test_both_prefixes_answer_the_same(http: httpx.Client, base: str) -> None:
    found = http.get(f"{base}/2.0/mlflow/experiments/get", params={"experiment_id": "0"})
    assert found.json()["experiment"]["name"] == "Default"


def test_a_get_search_of_experiments_takes_a_query(http: httpx.Client) -> None:
    mark = uuid4().hex
    for place in range(3):
        http.post(f"{API}/experiments/create", json={"name": f"{mark} {place}"})
    query = {"filter": f"name LIKE '{mark}%'", "order_by": "name DESC", "max_results": "2"}
    page = http.get(f"{API}/experiments/search", params=query).json()
    assert [one["name"] for one in page["experiments"]] == [f"{mark} 2", f"{mark} 1"]
    rest = {**query, "page_token": page["next_page_token"], "view_type": "ALL"}
    found = http.get(f"{API}/experiments/search", params=rest).json()
    assert [one["name"] for one in found["experiments"]] == [f"{mark} 0"]
    assert "next_page_token" not in found


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/runs/log-metric", {"key": "x", "value": 1, "timestamp": 1}),
        ("/runs/log-parameter", {"key": "x", "value": "1"}),
        ("/runs/set-tag", {"key": "x", "value": "1"}),
        ("/runs/delete-tag", {"key": "x"}),
        ("/runs/log-batch", {"params": [{"key": "x", "value": "1"}]}),
        ("/runs/log-inputs", {"models": [{"model_id": "m"}]}),
        ("/runs/outputs", {"models": [{"model_id": "m"}]}),
        ("/runs/update", {"status": "FINISHED"}),
    ],
)
def test_a_run_that_is_unknown_or_deleted_takes_nothing(
    http: httpx.Client, known: Known, path: str, fields: dict[str, object]
) -> None:
    unknown = http.post(API + path, json={"run_id": NEVER, **fields})
    assert code(unknown) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert unknown.json()["message"] == f"Run with id={NEVER} not found"
    http.post(f"{API}/runs/delete", json={"run_id": known.run_id})
    refused(
        http.post(API + path, json={"run_id": known.run_id, **fields}),
        f"The run {known.run_id} must be in the 'active' state. Current state is deleted.",
    )


@pytest.mark.parametrize("path", ["/runs/delete", "/runs/restore"])
def test_deleting_and_restoring_an_unknown_run_says_so(http: httpx.Client, path: str) -> None:
    answer = http.post(API + path, json={"run_id": NEVER})
    assert code(answer) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_an_experiment_is_deleted_once_and_restored_once(http: httpx.Client, known: Known) -> None:
    fields = {"experiment_id": known.experiment_id}
    assert http.post(f"{API}/experiments/restore", json=fields).status_code == 404
    assert http.post(f"{API}/experiments/delete", json=fields).json() == {}
    assert code(http.post(f"{API}/experiments/delete", json=fields))[0] == 404
    refused(http.post(f"{API}/runs/create", json=fields), "must be in the 'active' state")
    refused(http.post(f"{API}/logged-models", json=fields), "must be in the 'active' state")
    assert http.post(f"{API}/experiments/restore", json=fields).json() == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/params"),
        ("PATCH", "/tags"),
        ("DELETE", "/tags/k"),
        ("GET", "/artifacts/directories"),
    ],
)
def test_an_unknown_model_says_so(http: httpx.Client, method: str, path: str) -> None:
    fields = None if method == "GET" else {"status": "LOGGED_MODEL_READY"}
    answer = http.request(method, f"{API}/logged-models/m-{NEVER}{path}", json=fields)
    assert code(answer) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_deleted_model_is_shown_when_asked_for(http: httpx.Client, known: Known) -> None:
    path = f"{API}/logged-models/{known.model_id}"
    http.request("DELETE", path, json={})
    assert http.get(path).status_code == 404
    found = http.get(path, params={"allow_deleted": "true"}).json()["model"]["info"]
    assert found["model_id"] == known.model_id


def test_a_model_without_a_name_is_given_one(http: httpx.Client, known: Known) -> None:
    info = http.get(f"{API}/logged-models/{known.model_id}").json()["model"]["info"]
    assert info["name"]
    assert info["status"] == "LOGGED_MODEL_PENDING"
    root = f"mlflow-artifacts:/{known.experiment_id}/models/{known.model_id}/artifacts"
    assert info["artifact_uri"] == root


def test_a_run_renamed_to_its_name_gets_its_lost_tag_back(http: httpx.Client, known: Known) -> None:
    name = run_of(http, known.run_id)["info"]["run_name"]
    fields = {"run_id": known.run_id, "key": "mlflow.runName"}
    assert http.post(f"{API}/runs/delete-tag", json=fields).json() == {}
    http.post(f"{API}/runs/update", json={"run_id": known.run_id, "run_name": name})
    assert run_of(http, known.run_id)["data"] == {
        "tags": [{"key": "mlflow.runName", "value": name}]
    }


def test_an_update_without_fields_changes_nothing(http: httpx.Client, known: Known) -> None:
    before = run_of(http, known.run_id)
    info = http.post(f"{API}/runs/update", json={"run_id": known.run_id}).json()["run_info"]
    assert info == before["info"]
    assert run_of(http, known.run_id) == before


def test_params_are_told_apart_by_case(http: httpx.Client, known: Known) -> None:
    for key, value in (("lr", "1"), ("LR", "2")):
        fields = {"run_id": known.run_id, "key": key, "value": value}
        assert http.post(f"{API}/runs/log-parameter", json=fields).json() == {}
    found = run_of(http, known.run_id)["data"]["params"]
    assert found == [{"key": "LR", "value": "2"}, {"key": "lr", "value": "1"}]


def test_an_empty_param_is_there_and_cannot_change(http: httpx.Client, known: Known) -> None:
    fields = {"run_id": known.run_id, "key": "p"}
    assert http.post(f"{API}/runs/log-parameter", json={**fields, "value": ""}).json() == {}
    changed = http.post(f"{API}/runs/log-parameter", json={**fields, "value": "x"})
    refused(changed, "was already logged with value=''")


def test_what_is_unset_is_left_out_and_what_is_zero_is_kept(
    http: httpx.Client, known: Known
) -> None:
    run = run_of(http, known.run_id)
    assert "end_time" not in run["info"]
    assert "metrics" not in run["data"]
    point = {"run_id": known.run_id, "key": "x", "value": 0, "timestamp": 0}
    http.post(f"{API}/runs/log-metric", json=point)
    metrics = run_of(http, known.run_id)["data"]["metrics"]
    assert metrics == [{"key": "x", "value": 0.0, "timestamp": 0, "step": 0}]


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1.5", 1.5),
        (1, 1.0),
        (1e308, 1e308),
        (2**70, float(2**70)),
        (5e-324, 5e-324),
    ],
)
def test_a_double_comes_back_as_it_was_sent(
    http: httpx.Client, known: Known, sent: object, answered: object
) -> None:
    point = {"run_id": known.run_id, "key": "x", "value": sent, "timestamp": 1}
    assert http.post(f"{API}/runs/log-metric", json=point).json() == {}
    query = {"run_id": known.run_id, "metric_key": "x"}
    history = http.get(f"{API}/metrics/get-history", params=query).json()["metrics"]
    assert [one["value"] for one in history] == [answered]


def test_integers_up_to_64_bits_are_kept(http: httpx.Client, known: Known) -> None:
    for place, step in enumerate((2**63 - 1, -(2**63), 2**53 + 1)):
        point = {"key": f"m{place}", "value": 1, "timestamp": 2**63 - 1, "step": step}
        answer = http.post(f"{API}/runs/log-metric", json={"run_id": known.run_id, **point})
        assert answer.json() == {}
        query = {"run_id": known.run_id, "metric_key": f"m{place}"}
        (found,) = http.get(f"{API}/metrics/get-history", params=query).json()["metrics"]
        assert (found["timestamp"], found["step"]) == (2**63 - 1, step)


def test_a_bulk_history_is_by_run_then_time_within_one_bound(
    http: httpx.Client, known: Known
) -> None:
    other = http.post(f"{API}/runs/create", json={"experiment_id": known.experiment_id}).json()
    runs = sorted([known.run_id, other["run"]["info"]["run_id"]])
    for run_id in runs:
        points = [{"key": "x", "value": n, "timestamp": 9 - n, "step": n} for n in range(3)]
        http.post(f"{API}/runs/log-batch", json={"run_id": run_id, "metrics": points})
    query = {"run_id": runs[::-1], "metric_key": "x"}
    path = f"{API}/metrics/get-history-bulk"
    whole = http.get(path, params=query).json()["metrics"]
    assert [(one["run_id"], one["timestamp"]) for one in whole] == [
        (run_id, timestamp) for run_id in runs for timestamp in (7, 8, 9)
    ]
    assert http.get(path, params={**query, "max_results": "4"}).json()["metrics"] == whole[:4]
    unknown = http.get(path, params={"run_id": NEVER, "metric_key": "x"})
    assert code(unknown) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_history_comes_in_pages_that_a_client_follows(http: httpx.Client, known: Known) -> None:
    points = [{"key": "x", "value": n, "timestamp": n, "step": n} for n in range(5)]
    http.post(f"{API}/runs/log-batch", json={"run_id": known.run_id, "metrics": points})
    query = {"run_id": known.run_id, "metric_key": "x", "max_results": "2"}
    path, seen, token = f"{API}/metrics/get-history", [], ""
    while True:
        page = http.get(path, params={**query, "page_token": token}).json()
        seen.append([point["step"] for point in page["metrics"]])
        token = page.get("next_page_token", "")
        if not token:
            break
    assert seen == [[0, 1], [2, 3], [4]]
    refused(http.get(path, params={**query, "max_results": "0"}), "max_results")


def test_an_offset_token_of_another_server_is_read(http: httpx.Client, known: Known) -> None:
    points = [{"key": "x", "value": n, "timestamp": n, "step": n} for n in range(3)]
    http.post(f"{API}/runs/log-batch", json={"run_id": known.run_id, "metrics": points})
    token = base64.b64encode(b'{"offset": 2}').decode()
    query = {"run_id": known.run_id, "metric_key": "x", "page_token": token}
    found = http.get(f"{API}/metrics/get-history", params=query).json()["metrics"]
    assert [one["step"] for one in found] == [2]


def test_an_endpoint_that_is_not_there_makes_clients_fall_back(http: httpx.Client) -> None:
    for path in ("/api/3.0/mlflow/none", f"{API}/runs/none", "/ajax-api/2.0/mlflow/none%0Anone"):
        assert code(http.post(path, json={})) == (404, "ENDPOINT_NOT_FOUND")


def test_an_answer_is_always_a_json_object(http: httpx.Client, known: Known) -> None:
    for experiments in ([], [known.experiment_id]):
        fields = {"experiment_ids": experiments, "filter": "metrics.x > 5"}
        answer = http.post(f"{API}/runs/search", json=fields)
        assert isinstance(answer.json(), dict)
        assert answer.headers["content-type"].startswith("application/json")
    answer = http.post(f"{API}/experiments/search", json={"filter": f"name = '{NEVER}'"})
    assert answer.json().get("experiments", []) == []


def test_the_openapi_document_is_served(http: httpx.Client) -> None:
    document = http.get("/api/tracking/v1/openapi.json").json()
    assert f"{API}/runs/log-batch" in document["paths"]
