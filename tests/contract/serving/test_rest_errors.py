"""What is wrong with a REST request is said by status, field and reason; nothing is a 500."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.harness.data_plane import DataPlane

WIDE = "/v2/models/wide/infer"
LENGTH = "Inference-Header-Content-Length"
VALUES = [1.0, 2.0]


@pytest.fixture
def http(rest: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{rest}") as client:
        yield client


def _tensor(**changes: Any) -> dict[str, Any]:
    made = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": VALUES, **changes}
    return {key: value for key, value in made.items() if value is not ...}


def _wide(**changes: Any) -> str:
    return json.dumps({"inputs": [_tensor(**changes)]})


def _typed(datatype: str, data: list[Any]) -> str:
    return json.dumps({"inputs": [_tensor(datatype=datatype, data=data)]})


@dataclass(frozen=True, kw_only=True)
class Row:
    case: str
    body: str | bytes
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 400


TABLE = [
    Row(case="no JSON", body="{", message="failed to parse the request JSON: "),
    Row(case="nothing", body="", message="failed to parse the request JSON: "),
    Row(case="not UTF-8", body=b'{"id":"\xff"}', message="failed to parse the request JSON: "),
    Row(case="an array", body="[]", message="failed to parse the request JSON: expected an object"),
    Row(case="deep", body="[" * 100_000, message="failed to parse the request JSON: "),
    Row(
        case="deep with a word",
        body='{"a":NaN,"b":' + "[" * 100_000,
        message="failed to parse the request JSON: ",
    ),
    Row(
        case="lone surrogate with a word",
        body='{"a":NaN,"id":"\\ud800"}',
        message="failed to parse the request JSON: ",
    ),
    Row(case="no inputs", body="{}", message="field 'inputs' is missing"),
    Row(
        case="inputs no array",
        body='{"inputs":{}}',
        message="field 'inputs': expected an array, got an object",
    ),
    Row(
        case="input no object",
        body='{"inputs":[7]}',
        message="field 'inputs[0]': expected an object, got the number 7",
    ),
    Row(
        case="id no string",
        body='{"id":5,"inputs":[]}',
        message="field 'id': expected a string, got the number 5",
    ),
    Row(
        case="no name",
        body=_wide(name=...),
        message="field 'inputs[0].name': expected a string, got null",
    ),
    Row(
        case="no datatype",
        body=_wide(datatype=...),
        message="input 'x': field 'datatype': expected a string, got null",
    ),
    Row(
        case="unknown datatype",
        body=_wide(datatype="FP8"),
        message="input 'x': field 'data': 'FP8' is not a datatype of the protocol",
    ),
    Row(
        case="BF16 as JSON",
        body=_wide(datatype="BF16"),
        message="input 'x': field 'data': BF16 has no JSON form; send it as binary data",
    ),
    Row(
        case="no shape",
        body=_wide(shape=...),
        message="input 'x': field 'shape': expected an array, got null",
    ),
    Row(
        case="negative size",
        body=_wide(shape=[-1, 2]),
        message="input 'x': field 'shape'[0]: expected an integer from 0 to 9223372036854775807, "
        "got the number -1",
    ),
    Row(
        case="huge size",
        body=_wide(shape=[2**62, 2**62]),
        message="input 'x': field 'data': expected 21267647932558653966460912964485513216 elements",
    ),
    Row(
        case="size of 70 bits",
        body=_wide(shape=[2**70]),
        message="input 'x': field 'shape'[0]: expected an integer",
    ),
    Row(
        case="too few elements",
        body=_wide(shape=[1, 3]),
        message="input 'x': field 'data': expected 3 elements for shape [1, 3], got 2",
    ),
    Row(
        case="other nesting",
        body=_wide(data=[[1], [2]]),
        message="input 'x': field 'data': the nested arrays do not have shape [1, 2]",
    ),
    Row(
        case="ragged",
        body=_wide(shape=[2, 1], data=[[1], [2, 3]]),
        message="input 'x': field 'data': the nested arrays do not have shape [2, 1]",
    ),
    Row(
        case="data no array",
        body=_wide(data=5),
        message="input 'x': field 'data': expected an array, got the number 5",
    ),
    Row(
        case="string for a number",
        body=_wide(data=[1, "2"]),
        message="input 'x': field 'data': expected numbers, got the string '2' at element 1",
    ),
    Row(
        case="boolean for a number",
        body=_wide(data=[1, True]),
        message="input 'x': field 'data': expected numbers, got a boolean at element 1",
    ),
    Row(
        case="null for a number",
        body=_wide(data=[1, None]),
        message="input 'x': field 'data': expected numbers, got null at element 1",
    ),
    Row(
        case="fraction for an integer",
        body=_typed("INT32", [1, 1.5]),
        message="input 'x': field 'data': expected integers, got the number 1.5 at element 1",
    ),
    Row(
        case="integer out of range",
        body=_typed("INT8", [1, 128]),
        message="input 'x': field 'data': the number 128 at element 1 does not fit INT8 "
        "(-128 to 127)",
    ),
    Row(
        case="negative for unsigned",
        body=_typed("UINT64", [1, -1]),
        message="input 'x': field 'data': the number -1 at element 1 does not fit UINT64",
    ),
    Row(
        case="too large for FP32",
        body=_wide(data=[1, 1e39]),
        message="input 'x': field 'data': a number is too large for FP32",
    ),
    Row(
        case="too large for FP16",
        body=_typed("FP16", [1, 70000]),
        message="input 'x': field 'data': a number is too large for FP16",
    ),
    Row(
        case="number for a boolean",
        body=_typed("BOOL", [True, 2]),
        message="input 'x': field 'data': expected booleans, got the number 2 at element 1",
    ),
    Row(
        case="number for text",
        body=_typed("BYTES", ["a", 2]),
        message="input 'x': field 'data': expected strings, got the number 2 at element 1",
    ),
    Row(
        case="wrong datatype",
        body=_typed("INT32", [1, 2]),
        message="inference input 'x' data-type is 'INT32', but model 'wide' expects 'FP32'",
    ),
    Row(
        case="no data",
        body=_wide(data=...),
        message="unable to find data for input tensor 'x' for model 'wide' in request.",
    ),
    Row(
        case="the same input twice",
        body=json.dumps({"inputs": [_tensor(), _tensor()]}),
        message="input 'x' already exists in request",
    ),
    Row(
        case="parameter that is an object",
        body='{"inputs":[],"parameters":{"a":{}}}',
        message="parameter 'a': expected a boolean, a number of at most 64 bits or a string, "
        "got an object",
    ),
    Row(
        case="binary_data_output no boolean",
        body='{"inputs":[],"parameters":{"binary_data_output":1}}',
        message="parameter 'binary_data_output': expected a boolean, got the number 1",
    ),
    Row(
        case="size without the header",
        body=_wide(data=..., parameters={"binary_data_size": 8}),
        message="input 'x': parameter 'binary_data_size' needs the header "
        "'Inference-Header-Content-Length'",
    ),
    Row(
        case="size and data",
        body=_wide(parameters={"binary_data_size": 8}),
        message="input 'x': both field 'data' and parameter 'binary_data_size' are given",
    ),
    Row(
        case="negative binary size",
        body=(head := _wide(data=..., parameters={"binary_data_size": -8})),
        headers={LENGTH: str(len(head))},
        message="input 'x': parameter 'binary_data_size': expected an integer from 0",
    ),
    Row(
        case="binary size beyond the body",
        body=(head := _wide(data=..., parameters={"binary_data_size": 8})) + "1234567",
        headers={LENGTH: str(len(head))},
        message="input 'x': parameter 'binary_data_size' is 8, but only 7 bytes of binary data are "
        "left in the body",
    ),
    Row(
        case="bytes left over",
        body=(head := _wide(data=..., parameters={"binary_data_size": 8})) + "123456789",
        headers={LENGTH: str(len(head))},
        message="unexpected additional input data for model 'wide': 1 bytes after the last input",
    ),
    Row(
        case="header length beyond the body",
        body="{}",
        headers={LENGTH: "3"},
        message="header 'Inference-Header-Content-Length' is 3, but the body has only 2 bytes",
    ),
    *(
        Row(
            case=f"header length {text}",
            body="{}",
            headers={LENGTH: text},
            message="header 'Inference-Header-Content-Length': expected a number of bytes",
        )
        for text in ("-1", "two", "1e3", "9" * 40)
    ),
    Row(
        case="unknown encoding",
        body="{}",
        headers={"Content-Encoding": "br"},
        status=415,
        message="header 'Content-Encoding': expected gzip or deflate, got 'br'",
    ),
    Row(
        case="no gzip",
        body="{}",
        headers={"Content-Encoding": "gzip"},
        message="the body is not gzip: ",
    ),
    Row(
        case="gzip cut short",
        body=gzip.compress(_wide().encode())[:-3],
        headers={"Content-Encoding": "gzip"},
        message="the compressed body ends too early",
    ),
    Row(
        case="bytes after gzip",
        body=gzip.compress(_wide().encode()) + b"x",
        headers={"Content-Encoding": "gzip"},
        message="1 bytes follow the compressed body",
    ),
    Row(
        case="unknown output",
        body=json.dumps({"inputs": [_tensor()], "outputs": [{"name": "z"}]}),
        message="unexpected inference output 'z' for model 'wide'",
    ),
    Row(
        case="output's wish no boolean",
        body=json.dumps(
            {"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}
        ),
        message="output 'y': parameter 'binary_data': expected a boolean, got the number 1",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.case)
def test_bad_request_is_refused_with_its_reason(http: httpx.Client, row: Row) -> None:
    answer = http.post(WIDE, content=row.body, headers=row.headers)
    assert answer.status_code == row.status
    assert answer.headers["content-type"] == "application/json"
    (name,) = answer.json()
    assert name == "error"
    assert answer.json()["error"].startswith(row.message)


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/nope", "/v2/models", "/v2/models//infer", "/v2/models/a/versions/1/nope"]
)
def test_an_unknown_path_is_named(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": f"'{path}' is not a path of the Open Inference Protocol"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", WIDE, "POST"),
        ("DELETE", "/v2/models/wide", "GET"),
        ("PUT", "/v2/logging", "GET, POST"),
        ("POST", "/v2/health/live", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(
    http: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json() == {"error": f"method {method}: expected {allowed}"}


def test_a_version_that_is_no_number_is_refused(http: httpx.Client) -> None:
    answer = http.get("/v2/models/wide/versions/x")
    assert answer.status_code == 400
    assert "specified version string 'x'" in answer.json()["error"]


def test_a_path_that_is_not_utf8_is_refused(http: httpx.Client) -> None:
    answer = http.get("/v2/models/%ff")
    assert (answer.status_code, answer.json()) == (400, {"error": "the path is not UTF-8: '%ff'"})


def test_bodies_beyond_the_bound_are_refused_before_and_while_they_come(plane: DataPlane) -> None:
    with plane.listening_rest(max_body=1000) as address:
        url = f"http://{address}{WIDE}"
        told = httpx.post(url, content=b" " * 1001)
        chunks = httpx.post(url, content=(b" " * 400 for _ in range(3)))
        bomb = httpx.post(
            url, content=gzip.compress(b" " * 2**20), headers={"Content-Encoding": "gzip"}
        )
    assert [told.status_code, chunks.status_code] == [413, 413]
    assert told.json() == {"error": "the request body is larger than 1000 bytes"}
    assert bomb.status_code == 413


def test_json_beyond_its_bound_is_refused_and_binary_data_is_not(plane: DataPlane) -> None:
    with plane.listening_rest(max_json=1000) as address:
        url = f"http://{address}{WIDE}"
        refused = httpx.post(url, content=_wide(shape=[1, 300], data=[1.0] * 300))
        head = _wide(data=..., shape=[1, 1000], parameters={"binary_data_size": 4000}).encode()
        taken = httpx.post(url, content=head + b"\0" * 4000, headers={LENGTH: str(len(head))})
    assert refused.status_code == 413
    assert "send large tensors as binary data" in refused.json()["error"]
    assert taken.status_code == 200


def test_a_client_that_hangs_up_in_its_body_harms_nobody(http: httpx.Client, rest: str) -> None:
    host, _, port = rest.partition(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(
                b"POST /v2/models/wide/infer HTTP/1.1\r\ncontent-length: 99\r\n\r\n{"
            )
    assert http.post(WIDE, content=_wide()).status_code == 200
