"""Scorers of the unmodified client."""

from __future__ import annotations

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.genai.scorers import (
    Guidelines,
    delete_scorer,
    get_scorer,
    list_scorers,
)
from mlflow.genai.scorers.registry import list_scorer_versions

API = "/api/3.0/mlflow/scorers"


def polite(words: str) -> Guidelines:
    return Guidelines(name="polite", guidelines=words, model="openai:/gpt-4o-mini")


def test_a_scorer_is_kept_with_its_versions(experiment: str) -> None:
    first = polite("be polite").register(name="polite", experiment_id=experiment)
    polite("be kind").register(name="polite", experiment_id=experiment)
    assert first.name == "polite"
    assert get_scorer(name="polite", experiment_id=experiment).guidelines == "be kind"
    old = get_scorer(name="polite", experiment_id=experiment, version=1)
    assert old.guidelines == "be polite"
    versions = list_scorer_versions(name="polite", experiment_id=experiment)
    assert [(scorer.guidelines, version) for scorer, version in versions] == [
        ("be polite", 1),
        ("be kind", 2),
    ]


def test_scorers_are_listed_by_their_last_version(experiment: str) -> None:
    for name in ("b", "a", "b"):
        polite("be polite").register(name=name, experiment_id=experiment)
    assert [scorer.name for scorer in list_scorers(experiment_id=experiment)] == ["a", "b"]


def test_a_version_is_deleted_alone_or_with_all_others(experiment: str) -> None:
    for _ in range(3):
        polite("be polite").register(name="polite", experiment_id=experiment)
    delete_scorer(name="polite", experiment_id=experiment, version=3)
    versions = list_scorer_versions(name="polite", experiment_id=experiment)
    assert [version for _, version in versions] == [1, 2]
    again = polite("be kind").register(name="polite", experiment_id=experiment)
    assert again.name == "polite"
    assert list_scorer_versions(name="polite", experiment_id=experiment)[-1][1] == 4
    delete_scorer(name="polite", experiment_id=experiment, version="all")
    assert list_scorers(experiment_id=experiment) == []


def test_what_is_not_there_is_named(experiment: str) -> None:
    with pytest.raises(MlflowException, match="Scorer with name 'polite' not found for exp"):
        get_scorer(name="polite", experiment_id=experiment)
    polite("be polite").register(name="polite", experiment_id=experiment)
    with pytest.raises(MlflowException, match="'polite' and version 7 not found for experiment"):
        delete_scorer(name="polite", experiment_id=experiment, version=7)


def test_a_scorer_of_a_deleted_experiment_is_not_served(
    client: MlflowClient, experiment: str
) -> None:
    polite("be polite").register(name="polite", experiment_id=experiment)
    client.delete_experiment(experiment)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        list_scorers(experiment_id=experiment)


def test_a_scorer_that_is_not_json_is_refused(http: httpx.Client, experiment: str) -> None:
    body = {"experiment_id": experiment, "name": "polite", "serialized_scorer": "{"}
    answer = http.post(f"{API}/register", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert answer.json()["message"] == "serialized_scorer must be valid JSON"
