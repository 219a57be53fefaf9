"""Limits of keys, values and counts, at their edge and one beyond."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.component.tracking.rules.known import API, MODEL_NOTE, Known, refused

GOOD_KEYS: Final = ("a", "a/b", "a.b", "a b", "a:b", "a-b_c", "ünïcode", ".hidden", "a" * 250)
BAD_KEYS: Final = (
    "/a",
    "a//b",
    "a/",
    "..",
    "../a",
    "a/../b",
    "./a",
    ".",
    "a\\b",
    "a\n",
    "a@b",
    "a%b",
)


def tags_of(http: httpx.Client, run_id: str) -> dict[str, str]:
    data = http.get(f"{API}/runs/get", params={"run_id": run_id}).json()["run"]["data"]
    return {one["key"]: one["value"] for one in data["tags"]}


def params_of(http: httpx.Client, run_id: str) -> dict[str, str]:
    data = http.get(f"{API}/runs/get", params={"run_id": run_id}).json()["run"]["data"]
    return {one["key"]: one["value"] for one in data["params"]}


def entry_calls(known: Known, key: str) -> list[tuple[str, dict[str, object]]]:
    """Every way to log something under a key."""
    run: dict[str, object] = {"run_id": known.run_id}
    point: dict[str, object] = {"key": key, "value": 1.0, "timestamp": 1}
    pair: dict[str, object] = {"key": key, "value": "v"}
    return [
        ("/runs/log-metric", {**run, **point}),
        ("/runs/log-parameter", {**run, **pair}),
        ("/runs/set-tag", {**run, **pair}),
        ("/runs/log-batch", {**run, "metrics": [point], "params": [pair], "tags": [pair]}),
        ("/experiments/set-experiment-tag", {"experiment_id": known.experiment_id, **pair}),
        (f"/logged-models/{known.model_id}/params", {"params": [pair]}),
    ]


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_a_key_that_the_rules_allow_is_kept(http: httpx.Client, known: Known, key: str) -> None:
    for path, fields in entry_calls(known, key):
        answer = http.post(API + path, json=fields)
        assert answer.status_code == 200, f"{path}: {answer.text}"


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_is_no_plain_name_is_refused(http: httpx.Client, known: Known, key: str) -> None:
    for path, fields in entry_calls(known, key):
        refused(http.post(API + path, json=fields), "Invalid value")


def test_a_key_of_251_characters_is_refused(http: httpx.Client, known: Known) -> None:
    for path, fields in entry_calls(known, "k" * 251):
        refused(http.post(API + path, json=fields), "exceeds the maximum length of 250 characters")


def test_a_long_param_is_cut_at_6000_characters(http: httpx.Client, known: Known) -> None:
    pair = {"key": "long", "value": "ü" * 6001}
    http.post(f"{API}/runs/log-parameter", json={"run_id": known.run_id, **pair})
    pairs = [{"key": "batch", "value": "x" * 9000}]
    http.post(f"{API}/runs/log-batch", json={"run_id": known.run_id, "params": pairs})
    found = params_of(http, known.run_id)
    assert found == {"long": "ü" * 6000, "batch": "x" * 6000}


def test_a_long_tag_is_cut_at_8000_characters(http: httpx.Client, known: Known) -> None:
    pair = {"key": "long", "value": "ü" * 8001}
    http.post(f"{API}/runs/set-tag", json={"run_id": known.run_id, **pair})
    assert tags_of(http, known.run_id)["long"] == "ü" * 8000


def test_an_experiment_tag_takes_20000_characters(http: httpx.Client, known: Known) -> None:
    def set_tag(value: str) -> httpx.Response:
        fields = {"experiment_id": known.experiment_id, "key": "k", "value": value}
        return http.post(f"{API}/experiments/set-experiment-tag", json=fields)

    assert set_tag("x" * 20_000).status_code == 200
    refused(set_tag("x" * 20_001), "20000")


def test_an_experiment_name_takes_500_characters(http: httpx.Client, known: Known) -> None:
    name = uuid4().hex.ljust(500, "ü")
    assert http.post(f"{API}/experiments/create", json={"name": name}).status_code == 200
    refused(http.post(f"{API}/experiments/create", json={"name": name + "x"}), "500")
    fields = {"experiment_id": known.experiment_id, "new_name": name + "x"}
    refused(http.post(f"{API}/experiments/update", json=fields), "500")


@pytest.mark.parametrize(
    ("metrics", "params", "tags", "text"),
    [
        (1001, 0, 0, "at most 1000 metrics. Got 1001 metrics."),
        (0, 101, 0, "at most 100 params. Got 101 params."),
        (0, 0, 101, "at most 100 tags. Got 101 tags."),
        (900, 100, 1, "at most 1000 metrics, params, and tags. Got 1001"),
    ],
)
def test_a_batch_over_a_count_is_refused_whole(
    http: httpx.Client, known: Known, metrics: int, params: int, tags: int, text: str
) -> None:
    fields = {
        "run_id": known.run_id,
        "metrics": [{"key": f"m{i}", "value": i, "timestamp": 1} for i in range(metrics)],
        "params": [{"key": f"p{i}", "value": "x"} for i in range(params)],
        "tags": [{"key": f"t{i}", "value": "x"} for i in range(tags)],
    }
    refused(http.post(f"{API}/runs/log-batch", json=fields), text)
    data = http.get(f"{API}/runs/get", params={"run_id": known.run_id}).json()["run"]["data"]
    assert "metrics" not in data
    assert "params" not in data


def test_a_batch_at_every_count_is_taken(http: httpx.Client, known: Known) -> None:
    fields = {
        "run_id": known.run_id,
        "metrics": [{"key": f"m{i}", "value": i, "timestamp": 1} for i in range(800)],
        "params": [{"key": f"p{i}", "value": "x"} for i in range(100)],
        "tags": [{"key": f"t{i}", "value": "x"} for i in range(100)],
    }
    assert http.post(f"{API}/runs/log-batch", json=fields).json() == {}


def test_a_param_twice_in_a_batch_is_refused(http: httpx.Client, known: Known) -> None:
    pairs = [{"key": "a", "value": "1"}, {"key": "a", "value": "1"}]
    answer = http.post(f"{API}/runs/log-batch", json={"run_id": known.run_id, "params": pairs})
    refused(answer, "Duplicate parameter keys have been submitted: ['a']")


@pytest.mark.parametrize("run_id", ["-x", "a b", "x" * 257, "a/b", "ü"])
def test_a_run_id_that_cannot_be_one_is_refused(http: httpx.Client, run_id: str) -> None:
    refused(http.post(f"{API}/runs/log-batch", json={"run_id": run_id}), "run_id")


@pytest.mark.parametrize("number", ["x", "--1", "1.5", "²", "1" * 19, "0x1"])
def test_an_experiment_id_that_is_no_number_is_refused(http: httpx.Client, number: str) -> None:
    refused(http.get(f"{API}/experiments/get", params={"experiment_id": number}), number[:18])


def test_a_negative_experiment_id_is_of_no_experiment(http: httpx.Client) -> None:
    answer = http.get(f"{API}/experiments/get", params={"experiment_id": "-1337"})
    assert answer.status_code == 404
    assert answer.json()["message"] == "No Experiment with id=-1337 exists"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "x" * 501}, "name"),
        ({"digest": "x" * 37}, "digest"),
        ({"schema": "x" * 1_048_576}, "schema"),
        ({"source": "x" * 65_536}, "source"),
        ({"profile": "x" * 16_777_216}, "profile"),
        ({"name": ""}, "name"),
        ({"digest": None}, "digest"),
    ],
    ids=lambda value: str(value)[:15],
)
def test_a_dataset_beyond_a_limit_is_refused(
    http: httpx.Client, known: Known, changes: dict[str, object], text: str
) -> None:
    dataset = {"name": "n", "digest": "d", "source_type": "s", "source": "s", **changes}
    fields = {"run_id": known.run_id, "datasets": [{"dataset": dataset}]}
    refused(http.post(f"{API}/runs/log-inputs", json=fields), text)


@pytest.mark.parametrize(("key", "value"), [("k" * 256, "v"), ("k", "v" * 501)])
def test_an_input_tag_beyond_a_limit_is_refused(
    http: httpx.Client, known: Known, key: str, value: str
) -> None:
    dataset = {"name": "n", "digest": "d", "source_type": "s", "source": "s"}
    entry = {"dataset": dataset, "tags": [{"key": key, "value": value}]}
    refused(http.post(f"{API}/runs/log-inputs", json={"run_id": known.run_id, "datasets": [entry]}))


def test_a_long_model_id_or_dataset_name_is_refused(http: httpx.Client, known: Known) -> None:
    long = uuid4().hex * 200
    run = {"run_id": known.run_id}
    refused(http.post(f"{API}/runs/log-inputs", json={**run, "models": [{"model_id": long}]}))
    refused(http.post(f"{API}/runs/outputs", json={**run, "models": [{"model_id": long}]}))
    point = {**run, "key": "x", "value": 1, "timestamp": 1}
    refused(http.post(f"{API}/runs/log-metric", json={**point, "model_id": long}))
    named = {**point, "model_id": "m", "dataset_name": long}
    refused(http.post(f"{API}/runs/log-metric", json=named))
    fields = {"experiment_id": known.experiment_id, "source_run_id": long}
    refused(http.post(f"{API}/logged-models", json=fields), "source_run_id")


def test_a_long_run_name_is_cut_as_its_tag_is(http: httpx.Client, known: Known) -> None:
    fields = {"experiment_id": known.experiment_id, "run_name": "n" * 9000}
    run = http.post(f"{API}/runs/create", json=fields).json()["run"]
    assert run["info"]["run_name"] == "n" * 8000
    assert tags_of(http, run["info"]["run_id"])["mlflow.runName"] == "n" * 8000


def test_a_logged_model_takes_100_params_a_request(http: httpx.Client, known: Known) -> None:
    pairs = [{"key": f"p{place}", "value": "x"} for place in range(101)]
    path = f"{API}/logged-models/{known.model_id}/params"
    refused(http.post(path, json={"params": pairs}), "at most 100 params")
    assert http.post(path, json={"params": pairs[:100]}).json() == {}


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_a_logged_models_name_is_a_plain_one(http: httpx.Client, known: Known, name: str) -> None:
    fields = {"experiment_id": known.experiment_id, "name": name}
    refused(http.post(f"{API}/logged-models", json=fields), "Invalid model name")


@pytest.mark.parametrize(
    ("path", "most"), [("/experiments/search", 50_000), ("/runs/search", 50_000)]
)
def test_a_page_has_a_largest_size(http: httpx.Client, path: str, most: int) -> None:
    assert http.post(API + path, json={"max_results": most}).status_code == 200
    refused(http.post(API + path, json={"max_results": most + 1}), "max_results")
    refused(http.post(API + path, json={"max_results": 0}), "max_results")


def test_bulk_histories_name_at_most_100_runs(http: httpx.Client) -> None:
    many = [f"r{place}" for place in range(101)]
    bulk = {"run_id": many, "metric_key": "x"}
    refused(http.get(f"{API}/metrics/get-history-bulk", params=bulk), "more than 100 run_ids")
    interval = {"run_ids": many, "metric_key": "x"}
    path = f"{API}/metrics/get-history-bulk-interval"
    refused(http.get(path, params=interval), "at most 100 run_ids")
    most = {"run_ids": "x", "metric_key": "x", "max_results": "2501"}
    refused(http.get(path, params=most), "max_results must be between 1 and 2500.")


def test_datasets_are_searched_in_at_most_20_experiments(http: httpx.Client) -> None:
    fields = {"experiment_ids": [str(place) for place in range(21)]}
    answer = http.post(f"{API}/experiments/search-datasets", json=fields)
    refused(answer, "more than 20 experiment_ids")


@pytest.mark.parametrize(
    "location",
    ["/srv/x", "file:///x", "relative", "s3://a/../b", "http://x", "mlflow-artifacts://h/x"],
)
def test_an_artifact_location_that_clients_cannot_share_is_refused(
    http: httpx.Client, location: str
) -> None:
    fields = {"name": f"place {uuid4()}", "artifact_location": location}
    refused(http.post(f"{API}/experiments/create", json=fields), "artifact_location")


def test_notes_of_old_clients_on_models_grow_beyond_a_tags_length(
    http: httpx.Client, known: Known
) -> None:
    note = {"run_id": known.run_id, "model_json": MODEL_NOTE}
    for _ in range(120):
        assert http.post(f"{API}/runs/log-model", json=note).json() == {}
    assert tags_of(http, known.run_id)["mlflow.log-model.history"].count("artifact_path") == 120


def test_a_note_on_a_model_survives_what_a_client_wrote_in_its_tag(
    http: httpx.Client, known: Known
) -> None:
    fields = {"run_id": known.run_id, "key": "mlflow.log-model.history", "value": "not JSON"}
    http.post(f"{API}/runs/set-tag", json=fields)
    note = {"run_id": known.run_id, "model_json": MODEL_NOTE}
    assert http.post(f"{API}/runs/log-model", json=note).json() == {}
    assert tags_of(http, known.run_id)["mlflow.log-model.history"].count("artifact_path") == 1
