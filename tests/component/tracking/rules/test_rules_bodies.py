"""Bodies that are no JSON object, or hold what nothing can hold."""

from __future__ import annotations

from typing import Final

import httpx
import pytest

from services.tracking.api.surface import OPERATIONS, Operation
from tests.component.tracking.rules.known import API, Known, name_of, refused

JSON: Final = {"content-type": "application/json"}
DEEP: Final = 100_000
WITH_BODY: Final = [one for one in OPERATIONS if one.method != "GET"]
BAD: Final = {
    "no JSON": b"{",
    "empty text": b"''",
    "trailing comma": b'{"run_id": "x",}',
    "list": b"[]",
    "number": b"7",
    "not UTF-8": b'{"run_id": "\xff\xfe"}',
    "control character": b'{"run_id": "a\x01b"}',
    "NUL": rb'{"run_id": "a\u0000b"}',
    "NUL in a name": rb'{"a\u0000b": 1}',
    "lone surrogate": rb'{"run_id": "\ud800"}',
    "surrogate in a list": rb'{"tags": ["\udfff"]}',
    "text in text": rb'"\"text\""',
    "surrogate in text": rb'"{\"a\": \"\\ud800\"}"',
    "deep": b'{"run_id": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a little deep": b'{"run_id": ' + b"[" * 300 + b"]" * 300 + b"}",
    "number beyond double": b'{"run_id": 1' + b"0" * 400 + b"}",
    "number of 5000 digits": b'{"run_id": 1' + b"0" * 5000 + b"}",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_body_that_cannot_be_meant_is_refused(http: httpx.Client, body: bytes) -> None:
    refused(http.post(f"{API}/runs/set-tag", content=body, headers=JSON))


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
def test_no_endpoint_falls_over_a_deep_or_unstorable_body(
    http: httpx.Client, known: Known, operation: Operation
) -> None:
    path = API + operation.path.replace("{model_id}", known.model_id).replace("{key}", "k")
    for name in ("deep", "NUL", "lone surrogate"):
        refused(http.request(operation.method, path, content=BAD[name], headers=JSON))


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(http: httpx.Client, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = http.post(f"{API}/runs/create", content=b"{}", headers=headers)
    refused(answer, "Content-Type")


def test_a_content_type_may_name_its_charset(http: httpx.Client) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    assert http.post(f"{API}/runs/create", content=b"{}", headers=headers).status_code == 200


def test_an_empty_body_is_an_empty_object(http: httpx.Client) -> None:
    assert http.post(f"{API}/experiments/search", content=b"", headers=JSON).status_code == 200


def test_the_last_of_a_repeated_name_counts(http: httpx.Client, known: Known) -> None:
    body = b'{"run_id": "%s", "key": "k", "value": "1", "value": "2"}' % known.run_id.encode()
    assert http.post(f"{API}/runs/set-tag", content=body, headers=JSON).json() == {}
    run = http.get(f"{API}/runs/get", params={"run_id": known.run_id}).json()["run"]
    assert {"key": "k", "value": "2"} in run["data"]["tags"]


def test_an_escaped_backslash_before_u0000_is_not_a_nul(http: httpx.Client, known: Known) -> None:
    body = rb'{"run_id": "%s", "key": "k", "value": "\\u0000"}' % known.run_id.encode()
    assert http.post(f"{API}/runs/set-tag", content=body, headers=JSON).status_code == 200
    run = http.get(f"{API}/runs/get", params={"run_id": known.run_id}).json()["run"]
    assert {"key": "k", "value": r"\u0000"} in run["data"]["tags"]


def test_a_nul_in_a_query_or_a_path_is_refused(http: httpx.Client) -> None:
    refused(http.get(f"{API}/runs/get?run_id=a%00b"))
    refused(http.get(f"{API}/logged-models/a%00b"))


def test_a_body_beyond_the_bound_is_refused(http: httpx.Client, known: Known) -> None:
    body = b'{"run_id": "%s", "value": "%s"}' % (known.run_id.encode(), b"x" * (49 * 2**20))
    answer = http.post(f"{API}/runs/set-tag", content=body, headers=JSON)
    refused(answer, "larger than")


def test_a_long_wrong_value_is_not_echoed_whole(http: httpx.Client) -> None:
    answer = http.post(f"{API}/runs/set-tag", json={"run_id": ["x" * 100_000]})
    refused(answer, "Invalid value", "run_id")
    assert len(answer.content) < 2000


@pytest.mark.parametrize("text", ["ü€𐍈", "\u200b", "e\u0301", "\U0001f600" * 3, "\ufeff", "\x7f"])
def test_unicode_is_kept_as_it_came(http: httpx.Client, known: Known, text: str) -> None:
    fields = {"run_id": known.run_id, "key": "note", "value": text}
    assert http.post(f"{API}/runs/set-tag", json=fields).status_code == 200
    run = http.get(f"{API}/runs/get", params={"run_id": known.run_id}).json()["run"]
    assert {"key": "note", "value": text} in run["data"]["tags"]
