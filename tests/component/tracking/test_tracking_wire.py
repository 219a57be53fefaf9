"""What the wire says where clients do not look, or look only when something is wrong."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

API = "/api/2.0/mlflow"


def test_version_and_health_are_plain_text(http: httpx.Client) -> None:
    version = http.get("/version")
    assert version.headers["content-type"].startswith("text/plain")
    assert version.text.startswith("3.18.0+headrace.")
    assert http.get("/health").text == "OK"


@pytest.mark.parametrize("base", ["/api", "/ajax-api"])
def test_server_info_says_what_is_offered(http: httpx.Client, base: str) -> None:
    info = http.get(f"{base}/3.0/mlflow/server-info").json()
    assert info["store_type"] == "SqlStore"
    assert info["workspaces_enabled"] is False
    assert info["artifact_serving_enabled"] is True


def test_an_unknown_endpoint_says_so_in_json(http: httpx.Client) -> None:
    answer = http.post(f"{API}/traces/none", json={})
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_a_missing_field_is_named(http: httpx.Client) -> None:
    answer = http.post(f"{API}/runs/log-parameter", json={"run_id": "x"})
    assert answer.status_code == 400
    assert answer.json() == {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "Missing value for required parameter 'key'. "
        "See the API docs for more information about request parameters.",
    }


def test_a_wrong_type_is_named(http: httpx.Client) -> None:
    answer = http.post(f"{API}/experiments/create", json={"name": 5})
    assert answer.json()["message"].startswith("Invalid value 5 for parameter 'name' supplied:")


def test_both_spellings_of_a_field_work_but_not_together(http: httpx.Client) -> None:
    name = f"camel {uuid4()}"
    made = http.post(f"{API}/experiments/create", json={"name": name}).json()["experiment_id"]
    run = http.post(f"{API}/runs/create", json={"experimentId": made, "startTime": "5"}).json()
    assert run["run"]["info"]["experiment_id"] == made
    assert run["run"]["info"]["start_time"] == 5
    both = http.post(f"{API}/runs/create", json={"experiment_id": made, "experimentId": made})
    assert both.status_code == 400


def test_json_inside_a_json_text_is_read(http: httpx.Client) -> None:
    inner = '{"name": "twice %s"}' % uuid4()  # noqa: UP031
    answer = http.post(f"{API}/experiments/create", json=inner)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"{", "application/json"), (b"[]", "application/json"), (b"{}", "text/plain")],
)
def test_a_body_that_is_no_json_object_is_refused(
    http: httpx.Client, content: bytes, kind: str
) -> None:
    headers = {"content-type": kind}
    answer = http.post(f"{API}/runs/create", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_bare_nan_is_read_and_nan_travels_as_a_word(http: httpx.Client) -> None:
    made = http.post(f"{API}/experiments/create", json={"name": f"nan {uuid4()}"}).json()
    run = http.post(f"{API}/runs/create", json=made).json()["run"]["info"]["run_id"]
    body = b'{"run_id": "%s", "key": "x", "value": NaN, "timestamp": 1}' % run.encode()
    json = {"content-type": "application/json"}
    assert http.post(f"{API}/runs/log-metric", content=body, headers=json).json() == {}
    found = http.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["data"]["metrics"]
    assert found == [{"key": "x", "value": "NaN", "timestamp": 1, "step": 0}]


def test_text_that_postgresql_cannot_hold_is_refused(http: httpx.Client) -> None:
    for text in (r"a\u0000b", r"\ud800"):
        answer = http.post(
            f"{API}/experiments/create",
            content=b'{"name": "%s"}' % text.encode(),
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("!!", "Invalid page token, could not base64-decode"),
        ("e30=", "Invalid page token, parsed value={}"),
        ("eA==", "Invalid page token, decoded value="),
    ],
)
def test_a_wrong_page_token_is_refused(http: httpx.Client, token: str, message: str) -> None:
    answer = http.post(f"{API}/runs/search", json={"experiment_ids": ["0"], "page_token": token})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize("most", [0, -1, 50_001, "many"])
def test_a_wrong_page_size_is_refused(http: httpx.Client, most: object) -> None:
    answer = http.post(f"{API}/runs/search", json={"experiment_ids": ["0"], "max_results": most})
    assert answer.status_code == 400
    assert "max_results" in answer.json()["message"]
