"""JSON requests become the protocol's messages without a number changed, or say what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from headrace.errors import UndecodableEvent
from headrace.rpc.inference.open_inference_pb2 import ModelInferResponse
from services.serving.asynchronous.protocols.documents import (
    chained,
    document_of,
    request_of,
)
from services.serving.documents.outputs import output_document
from services.serving.worker.tensors import decode_strings, encode_strings


def document(datatype: str, shape: list[int], data: Any, **more: Any) -> bytes:
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "data": data, **more}
    return orjson.dumps({"inputs": [tensor]})


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("FP32", [[1.5, 2], [3, 4]], "<f4"),
        ("FP64", [1e300, 2, 3, 4], "<f8"),
        ("INT64", [2**63 - 1, -(2**63), 0, 1], "<i8"),
        ("UINT8", [0, 255, 1, 2], "u1"),
        ("BOOL", [True, False, True, True], "?"),
    ],
)
def test_numbers_arrive_as_they_were(datatype: str, data: Any, dtype: str) -> None:
    (raw,) = request_of(document(datatype, [2, 2], data)).raw_input_contents
    assert np.frombuffer(raw, dtype).tolist() == np.array(data, dtype).ravel().tolist()


@pytest.mark.parametrize(
    ("datatype", "data", "said"),
    [
        ("INT32", [1.5, 2, 3, 4], "expected integers, got the number 1.5"),
        ("UINT8", [256, 0, 0, 0], "does not fit UINT8"),
        ("UINT64", [-1, 0, 0, 0], "does not fit UINT64"),
        ("FP32", ["1", "2", "3", "4"], "expected numbers, got the string '1'"),
        ("FP32", [[1, 2], [3]], "nested arrays do not have shape"),
        ("FP32", [True, 0, 0, 0], "expected numbers, got a boolean"),
        ("BOOL", [2, 0, 1, 0], "expected booleans"),
        ("FP32", [1, 2, 3], "expected 4 elements for shape"),
        ("BYTES", [1, 2, 3, 4], "expected strings"),
        ("BF16", [1, 2, 3, 4], "has no JSON form"),
    ],
)
def test_what_would_be_changed_is_refused(datatype: str, data: Any, said: str) -> None:
    with pytest.raises(UndecodableEvent, match=said):
        request_of(document(datatype, [2, 2], data))


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"inputs": 1}', b'{"inputs": [1]}', b'{"inputs": [{}]}']
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        request_of(body)


def test_text_may_be_base64_when_its_parameter_says_so() -> None:
    encoded = document("BYTES", [1], ["/w=="], parameters={"content_type": "base64"})
    assert request_of(encoded).raw_input_contents[0] == b"\x01\0\0\0\xff"
    plain = request_of(document("BYTES", [2], ["é", ""]))
    assert decode_strings(plain.raw_input_contents[0], 2) == ["é", ""]


@pytest.mark.parametrize("data", [["/w=", "/w=="], ["/w=="], [1, 2]])
def test_what_is_no_base64_of_the_shape_is_refused(data: list[Any]) -> None:
    given = document("BYTES", [2], data, parameters={"content_type": "base64"})
    with pytest.raises(UndecodableEvent, match="input 'x': field 'data'"):
        request_of(given)


def test_parameters_that_the_protocol_has_no_type_for_are_left_out() -> None:
    body = orjson.loads(document("FP32", [1], [1.0]))
    body |= {"id": None, "parameters": {"headers": {"a": "b"}, "top": 3, "nothing": None}}
    request = request_of(orjson.dumps(body))
    assert {name: one.int64_param for name, one in request.parameters.items()} == {"top": 3}
    assert request.id == ""


def test_bytes_that_are_not_their_tensor_are_told_as_base64() -> None:
    told = output_document("y", "FP32", [2], b"\x00\x00")
    assert told["data"] == ["AAA="]
    assert told["parameters"] == {"content_type": "base64"}


def test_an_answer_becomes_a_document_and_the_request_to_the_next_model() -> None:
    answer = ModelInferResponse(model_name="m", model_version="2", id="r")
    answer.outputs.add(name="score", datatype="FP32", shape=[1, 2])
    answer.outputs.add(name="word", datatype="BYTES", shape=[1])
    answer.raw_output_contents.extend(
        [np.array([0.5, 1], np.float32).tobytes(), encode_strings(["a"])]
    )
    told = orjson.loads(document_of(answer))
    assert (told["model_name"], told["model_version"], told["id"]) == ("m", "2", "r")
    assert [output["data"] for output in told["outputs"]] == [[0.5, 1.0], ["a"]]
    following = chained(answer)
    assert [tensor.name for tensor in following.inputs] == ["score", "word"]
    assert list(following.raw_input_contents) == list(answer.raw_output_contents)
