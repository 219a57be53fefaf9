"""REST as it looks on the wire: bodies, headers and statuses, byte by byte."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.harness.data_plane import DataPlane

WIDE = "/v2/models/wide/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def http(rest: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{rest}") as client:
        yield client


def _wide(values: Any, shape: list[int]) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": values}]}


def test_health_has_json_bodies(http: httpx.Client) -> None:
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.get("/v2/models/simple/versions/3/ready").json() == {
        "name": "simple",
        "ready": True,
    }
    unready = http.get("/v2/models/nope/ready")
    assert (unready.status_code, unready.json()) == (503, {"name": "nope", "ready": False})


def test_head_is_answered_as_get(http: httpx.Client) -> None:
    assert http.head("/v2/health/live").status_code == 200


def test_a_worker_without_its_champions_is_alive_and_nothing_else(plane: DataPlane) -> None:
    with plane.listening_rest(opened=False) as address:
        base = f"http://{address}/v2"
        assert httpx.get(f"{base}/health/live").status_code == 200
        ready = httpx.get(f"{base}/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"ready": False})
        refused = httpx.post(f"{base}/models/simple/infer", json={})
        assert (refused.status_code, refused.json()) == (503, {"error": "the server is starting"})


def test_json_answer_is_flat_and_has_the_protocols_fields(http: httpx.Client) -> None:
    answer = http.post(WIDE, json={**_wide([[1, 2.5], [3, 4]], [2, 2]), "id": "i"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "id": "i",
        "model_name": "wide",
        "model_version": "1",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.5, 3.0, 4.0]}
        ],
    }


def test_binary_answer_follows_its_json(http: httpx.Client) -> None:
    document = {**_wide([1, 2], [1, 2]), "parameters": {"binary_data_output": True}}
    answer = http.post(WIDE, json=document)
    length = int(answer.headers[LENGTH])
    assert answer.headers["content-type"] == "application/octet-stream"
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 8}
    assert "data" not in output
    assert answer.content[length:] == np.array([1, 2], "<f4").tobytes()


def test_an_outputs_own_wish_goes_before_the_requests(http: httpx.Client) -> None:
    document = {
        **_wide([1, 2], [1, 2]),
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
    }
    assert http.post(WIDE, json=document).json()["outputs"][0]["data"] == [1.0, 2.0]


def test_json_and_binary_inputs_mix(http: httpx.Client) -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "carrier", "datatype": "BYTES", "shape": [2, 1], "data": ["UA", "é"]},
                {
                    "name": "distance",
                    "datatype": "FP32",
                    "shape": [2, 1],
                    "parameters": {"binary_data_size": 8},
                },
            ]
        }
    ).encode()
    body = head + np.array([0.5, 1.5], "<f4").tobytes()
    answer = http.post(
        "/v2/models/flights/infer", content=body, headers={LENGTH: str(len(head))}
    ).json()
    assert [output["data"] for output in answer["outputs"]] == [[100.5, 1.5], ["UA", "é"]]


def test_a_raw_body_is_the_tensor_of_a_model_with_one_input(http: httpx.Client) -> None:
    values = np.arange(3, dtype="<f4").tobytes()
    answer = http.post(WIDE, content=values, headers={LENGTH: "0"})
    assert answer.status_code == 200
    assert answer.content[int(answer.headers[LENGTH]) :] == values


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        ("simple", b"\0" * 64, "needs a model with one input, but 'simple' has 2"),
        ("wide", b"\0" * 7, "Expected a multiple of 4, got 7"),
        ("wide", b"", "Expected a multiple of 4, got 0"),
        ("nope", b"\0" * 4, "Request for unknown model: 'nope' is not found"),
    ],
)
def test_a_raw_body_that_decides_no_tensor_is_refused(
    http: httpx.Client, model: str, body: bytes, message: str
) -> None:
    answer = http.post(f"/v2/models/{model}/infer", content=body, headers={LENGTH: "0"})
    assert answer.status_code in {400, 404}
    assert message in answer.json()["error"]


def test_words_that_json_lacks_come_in_and_go_out(http: httpx.Client) -> None:
    body = json.dumps(_wide([1.5, float("nan"), float("-inf")], [1, 3]))
    answer = http.post(WIDE, content=body)
    assert answer.status_code == 200
    assert b"[1.5,NaN,-Infinity]" in answer.content


def test_a_body_in_chunks_is_one_body(http: httpx.Client) -> None:
    body = json.dumps(_wide([1, 2], [1, 2])).encode()
    answer = http.post(WIDE, content=(body[at : at + 7] for at in range(0, len(body), 7)))
    assert answer.json()["outputs"][0]["data"] == [1.0, 2.0]


def _bare(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", _bare),
        ("GZIP", gzip.compress),
    ],
)
def test_a_packed_body_is_read(http: httpx.Client, encoding: str, pack: Any) -> None:
    body = pack(json.dumps(_wide([1, 2], [1, 2])).encode())
    answer = http.post(WIDE, content=body, headers={"Content-Encoding": encoding})
    assert answer.json()["outputs"][0]["data"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("br", None),
        ("identity", None),
    ],
)
def test_a_large_answer_is_packed_as_the_client_accepts(
    http: httpx.Client, accepted: str, encoding: str | None
) -> None:
    values = [1.0] * 2000
    document = _wide(values, [1, 2000])
    answer = http.post(WIDE, json=document, headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.json()["outputs"][0]["data"] == values


def test_a_percent_encoded_model_name_is_decoded(http: httpx.Client) -> None:
    assert http.get("/v2/models/%73imple").json()["name"] == "simple"
    answer = http.get("/v2/models/a%2Fb")
    assert answer.json() == {"error": "Request for unknown model: 'a/b' is not found"}


def test_query_is_no_part_of_the_path(http: httpx.Client) -> None:
    assert http.get("/v2/models/simple?trace=1").json()["name"] == "simple"


def test_what_kserves_client_sends_is_understood(http: httpx.Client) -> None:
    """Its inputs have empty parameters, its raw tensors a size, its outputs none."""
    document = {
        "id": "5f0d",
        "inputs": [
            {
                "name": "x",
                "shape": [1, 2],
                "datatype": "FP32",
                "parameters": {},
                "data": [[1.0, 2.0]],
            }
        ],
        "parameters": {"content_type": "np"},
    }
    answer = http.post(WIDE, json=document, headers={"content-type": "application/json"}).json()
    assert (answer["id"], answer["outputs"][0]["data"]) == ("5f0d", [1.0, 2.0])


def test_cheap_predictions_leave_the_threads_and_answer_alike(http: httpx.Client) -> None:
    answers = [
        http.post(WIDE, json={**_wide([1, 2], [1, 2]), "id": "same"}).content for _ in range(20)
    ]
    assert len(set(answers)) == 1


def test_a_slow_upload_holds_up_nobody_else(http: httpx.Client, rest: str) -> None:
    body = json.dumps(_wide([1, 2], [1, 2])).encode()
    with httpx.Client(base_url=f"http://{rest}") as other:

        def parts() -> Iterator[bytes]:
            yield body[:5]
            began = time.monotonic()
            assert other.get("/v2/health/live").status_code == 200
            assert time.monotonic() - began < 5
            yield body[5:]

        assert http.post(WIDE, content=parts()).status_code == 200
