"""Evaluation datasets of the unmodified client."""

from __future__ import annotations

import json
from uuid import uuid4

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.genai import datasets

API = "/api/3.0/mlflow/datasets"


@pytest.fixture
def name(client: MlflowClient) -> str:
    """A dataset name that no other test has; the client is set up before."""
    assert client.tracking_uri
    return f"questions {uuid4()}"


def test_a_dataset_is_made_found_and_deleted(name: str, experiment: str) -> None:
    made = datasets.create_dataset(name=name, experiment_id=experiment, tags={"team": "ops"})
    seen = MlflowClient().get_dataset(made.dataset_id)
    assert (seen.name, seen.tags["team"], seen.experiment_ids) == (name, "ops", [experiment])
    assert (seen.schema, seen.profile, seen.records) == (None, None, [])
    assert seen.created_time == seen.last_update_time > 0
    datasets.delete_dataset(dataset_id=made.dataset_id)
    with pytest.raises(MlflowException, match=f"dataset with id '{made.dataset_id}' not found"):
        datasets.get_dataset(dataset_id=made.dataset_id)


def test_records_are_told_apart_by_their_inputs(name: str, experiment: str) -> None:
    made = datasets.create_dataset(name=name, experiment_id=experiment)
    made.merge_records(
        [
            {"inputs": {"q": "late?", "n": 1}, "expectations": {"a": "yes"}},
            {"inputs": {"q": "early?"}, "outputs": "no", "tags": {"sort": "easy"}},
        ]
    )
    made.merge_records(
        [{"inputs": {"n": 1, "q": "late?"}, "expectations": {"why": "fog"}, "outputs": {"x": 1.5}}]
    )
    seen = MlflowClient().get_dataset(made.dataset_id)
    assert [(record.inputs, record.outputs, record.expectations) for record in seen.records] == [
        ({"q": "late?", "n": 1}, {"x": 1.5}, {"a": "yes", "why": "fog"}),
        ({"q": "early?"}, "no", None),
    ]
    assert seen.records[1].tags["sort"] == "easy"
    assert json.loads(seen.profile) == {"num_records": 2}
    schema = json.loads(seen.schema)
    assert schema["inputs"] == {"q": "string", "n": "integer"}
    assert schema["expectations"] == {"a": "string", "why": "string"}
    assert seen.digest != made.digest


def test_records_are_deleted_by_id(name: str, experiment: str) -> None:
    made = datasets.create_dataset(name=name, experiment_id=experiment)
    made.merge_records([{"inputs": {"q": str(place)}} for place in range(3)])
    seen = MlflowClient().get_dataset(made.dataset_id)
    doomed = [record.dataset_record_id for record in seen.records if record.inputs["q"] != "1"]
    assert seen.delete_records([*doomed, "dr-never-there"]) == 2
    left = MlflowClient().get_dataset(made.dataset_id)
    assert [record.inputs for record in left.records] == [{"q": "1"}]


def test_records_are_read_page_by_page(http: httpx.Client, name: str, experiment: str) -> None:
    made = datasets.create_dataset(name=name, experiment_id=experiment)
    made.merge_records([{"inputs": {"q": place}} for place in range(5)])
    path, token, found = f"{API}/{made.dataset_id}/records", "", []
    for _ in range(3):
        page = http.get(path, params={"max_results": 2, "page_token": token}).json()
        found += [record["inputs"]["q"] for record in json.loads(page["records"])]
        token = page.get("next_page_token", "")
    assert (sorted(found), token) == (list(range(5)), "")


def test_datasets_are_found_by_experiment_name_and_tag(
    client: MlflowClient, name: str, experiment: str
) -> None:
    other = client.create_experiment(f"other {uuid4()}")
    for place in range(3):
        datasets.create_dataset(
            name=f"{name} {place}",
            experiment_id=experiment if place else other,
            tags={"place": str(place)},
        )

    def names(**query: object) -> list[str]:
        found = datasets.search_datasets(order_by=["name ASC"], **query)
        return [one.name.removeprefix(name).strip() for one in found]

    assert names(experiment_ids=experiment) == ["1", "2"]
    assert names(experiment_ids=[experiment, other]) == ["0", "1", "2"]
    assert names(filter_string=f"name LIKE '{name}%' AND tags.place = '2'") == ["2"]
    assert names(experiment_ids=experiment, filter_string="created_time > 1", max_results=1) == [
        "1"
    ]


def test_tags_and_experiments_of_a_dataset_change(
    client: MlflowClient, name: str, experiment: str
) -> None:
    made = datasets.create_dataset(name=name, experiment_id=experiment)
    datasets.set_dataset_tags(dataset_id=made.dataset_id, tags={"a": "1", "b": "2"})
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="a")
    other = client.create_experiment(f"other {uuid4()}")
    more = datasets.add_dataset_to_experiments(made.dataset_id, [other])
    assert more.experiment_ids == [experiment, other]
    fewer = datasets.remove_dataset_from_experiments(made.dataset_id, [experiment])
    assert fewer.experiment_ids == [other]
    tags = datasets.get_dataset(dataset_id=made.dataset_id).tags
    assert {key: tags[key] for key in tags if not key.startswith("mlflow.")} == {"b": "2"}
    with pytest.raises(MlflowException, match="No Experiment with id=987654321 exists"):
        datasets.add_dataset_to_experiments(made.dataset_id, ["987654321"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"records": "{"}, "Parameter 'records' must hold valid JSON."),
        ({"records": "{}"}, "Parameter 'records' must hold a JSON list."),
        ({"records": '[{"inputs": {}}, {"inputs": 3}]'}, "records[1]: expected an object"),
        ({}, "Missing value for required parameter 'records'"),
    ],
)
def test_what_is_no_record_is_refused(
    http: httpx.Client, name: str, body: dict[str, str], words: str
) -> None:
    made = MlflowClient().create_dataset(name=name)
    answer = http.post(f"{API}/{made.dataset_id}/records", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert words in answer.json()["message"]
