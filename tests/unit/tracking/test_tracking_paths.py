from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.tracking.domain.listing import children
from services.tracking.domain.paths import file_path, key_of, path_of_uri, safe_path


@pytest.mark.parametrize(
    ("path", "safe"),
    [("", ""), ("a/b", "a/b"), ("a//b/", "a/b"), ("a%20b", "a b"), ("./a", "a"), ("ü/€", "ü/€")],
)
def test_a_path_is_decoded_and_normalised(path: str, safe: str) -> None:
    assert safe_path(path) == safe


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "a/..",
        "/a",
        "%2Fa",
        "%252Fa",
        "a/%2e%2e/b",
        "a\\b",
        "c:/x",
        "a#b",
        "a\x00b",
        "x" * 901,
    ],
)
def test_a_path_that_could_leave_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid path"):
        safe_path(path)


def test_the_root_is_no_file() -> None:
    with pytest.raises(InvalidInput):
        file_path("")


def test_an_artifact_uri_leads_to_its_key() -> None:
    path = path_of_uri("mlflow-artifacts:/3/run/artifacts", "model/MLmodel")
    assert key_of(path) == "artifacts/3/run/artifacts/model/MLmodel"


def test_a_directory_shows_what_lies_directly_in_it() -> None:
    files = [("b/c", 1), ("b/d/e", 2), ("a", 3), ("b.txt", 4), ("", 5)]
    assert children(files) == [("a", 3), ("b", None), ("b.txt", 4)]
