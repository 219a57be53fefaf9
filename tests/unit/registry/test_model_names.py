"""Names, aliases, tags and stages as MLflow takes them."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.registry.domain import names


@pytest.mark.parametrize("name", ["flights", "Ankunft ü", "a.b-c_d", "x" * 250])
def test_ordinary_names_are_taken(name: str) -> None:
    assert names.check_model_name(name) == name


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", ".", "..", "x" * 251])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        names.check_model_name(name)


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v1", "V22", "a b", "", "x" * 256])
def test_reserved_and_odd_aliases_cannot_be_set(alias: str) -> None:
    with pytest.raises(InvalidInput):
        names.check_settable_alias(alias)


@pytest.mark.parametrize("alias", ["champion", "vNext", "shadow_2", "a-b"])
def test_other_aliases_can(alias: str) -> None:
    assert names.check_settable_alias(alias) == alias


@pytest.mark.parametrize("key", ["a$b", "../x", "/x", "a//b"])
def test_odd_tag_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        names.check_tags({key: "1"})


def test_a_stage_has_one_spelling() -> None:
    assert names.canonical_stage("pRoDuCtIoN") == "Production"
    with pytest.raises(InvalidInput, match="None, Staging, Production, Archived"):
        names.canonical_stage("live")


def test_a_number_that_no_version_can_have_is_not_an_error_of_spelling() -> None:
    assert names.version_number("9" * 30) == -1
    with pytest.raises(InvalidInput, match="must be an integer"):
        names.version_number("three")
