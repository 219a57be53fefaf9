"""Reading artifacts as HTTP has it: ranges, conditions, and what a file is without its bytes."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

CONTENT = bytes(range(200))


@pytest.fixture
def path(http: httpx.Client) -> str:
    """A stored file of 200 bytes."""
    where = f"/api/2.0/mlflow-artifacts/artifacts/{uuid4()}/some.bin"
    assert http.put(where, content=CONTENT).status_code == 200
    return where


@pytest.mark.parametrize(
    ("asked", "came", "told"),
    [
        ("bytes=0-9", CONTENT[:10], "bytes 0-9/200"),
        ("bytes=190-", CONTENT[190:], "bytes 190-199/200"),
        ("bytes=-5", CONTENT[195:], "bytes 195-199/200"),
        ("bytes=100-9999", CONTENT[100:], "bytes 100-199/200"),
    ],
)
def test_a_range_comes_as_part_of_the_file(
    http: httpx.Client, path: str, asked: str, came: bytes, told: str
) -> None:
    answer = http.get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == came
    assert answer.headers["content-range"] == told
    assert answer.headers["content-length"] == str(len(came))


@pytest.mark.parametrize(
    "asked", ["bytes=9-1", "lines=1-2", "bytes=0-1,4-5", "bytes=-", "nonsense"]
)
def test_a_range_that_makes_no_sense_is_ignored(http: httpx.Client, path: str, asked: str) -> None:
    answer = http.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_a_range_behind_the_end_is_not_satisfiable(http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers={"Range": "bytes=200-"})
    assert answer.status_code == 416
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_head_says_what_the_file_is(http: httpx.Client, path: str) -> None:
    told, whole = http.head(path), http.get(path)
    assert (told.status_code, told.content) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "content-type", "accept-ranges"):
        assert told.headers[name] == whole.headers[name]
    assert http.head(f"{path}.not").status_code == 404


def test_what_the_reader_has_is_not_sent_again(http: httpx.Client, path: str) -> None:
    etag = http.head(path).headers["etag"]
    assert http.get(path, headers={"If-None-Match": etag}).status_code == 304
    assert http.get(path, headers={"If-Match": etag}).status_code == 200
    http.put(path, content=b"other")
    assert http.get(path, headers={"If-None-Match": etag}).content == b"other"
    assert http.get(path, headers={"If-Match": etag}).status_code == 412


def test_a_range_of_a_file_that_changed_is_the_whole_new_file(
    http: httpx.Client, path: str
) -> None:
    etag = http.head(path).headers["etag"]
    resumed = {"Range": "bytes=2-", "If-Range": etag}
    assert http.get(path, headers=resumed).status_code == 206
    http.put(path, content=b"other")
    answer = http.get(path, headers=resumed)
    assert (answer.status_code, answer.content) == (200, b"other")
