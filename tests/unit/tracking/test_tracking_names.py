from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.tracking.domain import names
from services.tracking.domain.naming import name_for


@pytest.mark.parametrize("key", ["loss", "train/loss", "a b", "a:b", "x.y-z_1", "ü", "a" * 250])
def test_a_usable_key_stays_as_it_is(key: str) -> None:
    assert names.check_key(key, path="key") == key


@pytest.mark.parametrize("key", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "a!", "a\nb"])
def test_a_key_that_is_another_path_or_holds_other_characters_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        names.check_key(key, path="metrics[3].name")
    assert caught.value.field == "metrics[3].name"
    assert "for parameter 'metrics[3].name' supplied: Names may" in str(caught.value)


def test_a_key_that_is_too_long_is_refused_with_its_kind() -> None:
    with pytest.raises(InvalidInput, match="'Param key' exceeds the maximum length of 250"):
        names.param_of("a" * 251, "1")


def test_long_values_are_cut() -> None:
    assert len(names.param_of("a", "x" * 7000)[1]) == 6000
    assert len(names.tag_of("a", "x" * 9000)[1]) == 8000
    with pytest.raises(InvalidInput):
        names.experiment_tag_of("a", "x" * 20_001)


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), ("0", 0), ("17", 17), ("123456789012345678", 123456789012345678)]
)
def test_experiment_ids_are_numbers_and_nothing_is_the_default(text: str, number: int) -> None:
    assert names.experiment_number(text) == number


@pytest.mark.parametrize("text", ["--1", "1.0", "x", "1" * 19, " 1"])
def test_other_experiment_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="Experiment ID must be a valid integer"):
        names.experiment_number(text)


@pytest.mark.parametrize(
    "location",
    [
        "/models/x",
        "file:///etc",
        "mlflow-artifacts:/a/../b",
        "s3://b/a#b",
        "mlflow-artifacts://host/a",
    ],
)
def test_artifacts_do_not_go_to_a_path_of_a_machine(location: str) -> None:
    with pytest.raises(InvalidInput):
        names.check_artifact_location(location)


@pytest.mark.parametrize("location", ["mlflow-artifacts:/teams/north", "s3://bucket/key"])
def test_artifacts_may_go_to_a_store_that_clients_reach(location: str) -> None:
    assert names.check_artifact_location(location) == location


@pytest.mark.parametrize("run_id", ["", "-a", "a/b", "a" * 257])
def test_a_run_id_is_letters_digits_and_dashes(run_id: str) -> None:
    with pytest.raises(InvalidInput, match="for parameter 'run_id' supplied"):
        names.check_run_id(run_id)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a.b", "a%b", "a'b"])
def test_a_model_name_lacks_what_its_uri_needs(name: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid model name"):
        names.check_model_name(name)


def test_an_identity_always_gets_the_same_name() -> None:
    assert name_for("abc") == name_for("abc")
    assert name_for("abc") != name_for("abd")
    assert len(name_for("abc").split("-")) == 3
