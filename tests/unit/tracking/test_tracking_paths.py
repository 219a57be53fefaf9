from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.tracking.domain.listing import entries_of
from services.tracking.domain.paths import (
    file_path,
    key_of,
    own_prefix,
    path_of_uri,
    safe_path,
    uploaded_path,
)
from services.tracking.domain.ranges import single_range


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
        "%25" * 1500,
        "half \ud800",
        "%ff",
        "\x7f",
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
    files = [("p/a", 3), ("p/b.txt", 4), ("p/", 0)]
    entries = entries_of("p/", directories=["p/b/"], files=files)
    assert sorted(entries) == [("a", 3), ("b", None), ("b.txt", 4)]


@pytest.mark.parametrize(
    ("local", "path"),
    [("x.txt", "d/x.txt"), ("/home/me/x.txt", "d/x.txt"), ("C:\\me\\x.txt", "d/x.txt")],
)
def test_an_uploaded_file_keeps_only_its_base_name(local: str, path: str) -> None:
    assert uploaded_path("d", local) == path


@pytest.mark.parametrize("local", ["", "/", "..", "a/..", "%2e%2e", "src%5C..", "a%2Fb", "C:", "."])
def test_an_uploaded_file_without_a_name_is_refused(local: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid path"):
        uploaded_path("d", local)


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("mlflow-artifacts:/3/r1/artifacts", "artifacts/3/r1/artifacts/"),
        ("mlflow-artifacts:/shared", None),
        ("mlflow-artifacts:/", None),
        ("mlflow-artifacts:/3/r10/artifacts", None),
        ("mlflow-artifacts:/3/r1/../..", None),
        ("s3://bucket/3/r1/artifacts", None),
    ],
)
def test_only_a_place_of_its_own_is_a_run_s_prefix(uri: str, prefix: str | None) -> None:
    assert own_prefix(uri, run_id="r1") == prefix


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("bytes=0-", "bytes=0-"),
        ("bytes=-7", "bytes=-7"),
        (" bytes=3-3 ", "bytes=3-3"),
        ("bytes=4-3", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        (None, None),
    ],
)
def test_only_one_sensible_range_is_passed_on(header: str | None, asked: str | None) -> None:
    assert single_range(header) == asked
