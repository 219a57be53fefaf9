"""REST over all requests: the same answers as by gRPC, and never an internal error."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.rpc.inference import open_inference_pb2 as oip
from headrace.runtime.telemetry import configure_logs
from services.serving.documents.elements import data_of, raw_of
from services.serving.worker.calls import NOTHING_BESIDE
from services.serving.worker.rest.answering import Answering, Limits
from services.serving.worker.rest.http import Answer, Request
from services.serving.worker.rest.routes import find
from services.serving.worker.tensors import BYTES, DTYPES, decode, encode
from tests.harness import onnx_models
from tests.harness.data_plane import DataPlane, data_plane

LENGTH = b"inference-header-content-length"
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
DATATYPES = st.sampled_from([*DTYPES, BYTES])


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> DataPlane:
    made = data_plane(tmp_path_factory.mktemp("models"))
    made.answer_with(
        {
            "types": made.load("types", 1, onnx_models.of_every_type()),
            "wide": made.load("wide", 1, onnx_models.any_width()),
        }
    )
    return made


@pytest.fixture(scope="module")
def answering(plane: DataPlane) -> Answering:
    return Answering(
        methods=plane.dispatcher.methods(),
        limits=Limits(body=2**20, json=2**20),
        log=configure_logs(service="test", level="critical"),
    )


def _post(
    answering: Answering, path: str, body: bytes, headers: list[tuple[bytes, bytes]]
) -> Answer:
    request = Request(method="POST", path=path, body=body, headers=headers)
    return answering.answer(request, find(path))


@st.composite
def rows_of_every_type(draw: st.DrawFn) -> dict[str, Any]:
    """An array [n, 2] of each datatype."""
    shape = (draw(st.integers(1, 4)), 2)
    arrays: dict[str, Any] = {
        name: draw(hnp.arrays(dtype, shape)) for name, dtype in DTYPES.items()
    }
    texts = draw(st.lists(st.text(max_size=6), min_size=prod(shape), max_size=prod(shape)))
    arrays[BYTES] = np.array(texts, dtype=object).reshape(shape)
    return arrays


@settings(deadline=None, max_examples=50)
@given(rows_of_every_type(), st.data())
def test_rest_answers_as_grpc_does(
    plane: DataPlane, answering: Answering, arrays: dict[str, Any], data: st.DataObject
) -> None:
    by_grpc = _ask_grpc(plane, arrays)
    binary = {name: data.draw(st.booleans(), label=name) for name in arrays}
    asked = {name: data.draw(st.booleans(), label=f"{name} back") for name in arrays}
    head, tail = _rest_request(arrays, binary, asked)
    answer = _post(
        answering,
        "/v2/models/types/infer",
        head + tail,
        [(LENGTH, str(len(head)).encode())] if any(binary.values()) else [],
    )
    assert answer.status == 200, answer.body
    outputs = _raw_outputs(answer)
    for output, raw in zip(by_grpc.outputs, by_grpc.raw_output_contents, strict=True):
        assert _same(output.datatype, outputs[output.name], raw), output.name


def _ask_grpc(plane: DataPlane, arrays: dict[str, Any]) -> oip.ModelInferResponse:
    request = oip.ModelInferRequest(model_name="types")
    for name, array in arrays.items():
        request.inputs.add(name=f"in_{name}", datatype=name, shape=array.shape)
        request.raw_input_contents.append(encode(name, array))
    call = plane.dispatcher.methods()["/inference.GRPCInferenceService/ModelInfer"]
    reply = call(request.SerializeToString(), NOTHING_BESIDE)
    return oip.ModelInferResponse.FromString(reply.payload)


def _rest_request(
    arrays: dict[str, Any], binary: dict[str, bool], asked: dict[str, bool]
) -> tuple[bytes, bytes]:
    inputs, tail = [], b""
    for name, array in arrays.items():
        entry: dict[str, Any] = {"name": f"in_{name}", "datatype": name, "shape": array.shape}
        if binary[name]:
            raw = encode(name, array)
            entry["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            entry["data"] = array.tolist()
        inputs.append(entry)
    outputs = [
        {"name": f"out_{name}", "parameters": {"binary_data": wanted}}
        for name, wanted in asked.items()
    ]
    return json.dumps({"inputs": inputs, "outputs": outputs}).encode(), tail


def _raw_outputs(answer: Answer) -> dict[str, bytes]:
    length = dict(answer.headers).get(LENGTH)
    at = int(length) if length else len(answer.body)
    found = {}
    for output in json.loads(answer.body[:at])["outputs"]:
        if "data" in output:
            array = np.array(
                output["data"],
                dtype=object if output["datatype"] == BYTES else DTYPES[output["datatype"]],
            )
            found[output["name"]] = encode(output["datatype"], array)
        else:
            size = output["parameters"]["binary_data_size"]
            found[output["name"]], at = answer.body[at : at + size], at + size
    return found


def _same(datatype: str, one: bytes, other: bytes) -> bool:
    """Bit by bit, but for the payload of a NaN, which JSON does not carry."""
    if not datatype.startswith("FP"):
        return one == other
    dtype = DTYPES[datatype]
    return np.array_equal(np.frombuffer(one, dtype), np.frombuffer(other, dtype), equal_nan=True)


@settings(deadline=None)
@given(DATATYPES, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), st.data())
def test_data_flat_or_nested_is_the_tensor(
    datatype: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    if datatype == BYTES:
        texts = data.draw(st.lists(st.text(), min_size=prod(shape), max_size=prod(shape)))
        array = np.array([*texts, None], dtype=object)[:-1].reshape(shape)
    else:
        array = data.draw(hnp.arrays(DTYPES[datatype], shape))
    raw = raw_of(array.tolist(), datatype, shape, "x")
    assert raw_of(array.ravel().tolist(), datatype, shape, "x") == raw
    assert _same(datatype, raw, encode(datatype, array))
    back = data_of(raw, datatype, shape, "x")
    assert len(back) == prod(shape)
    assert decode(datatype, shape, raw).shape == shape


@settings(deadline=None)
@given(JSONS, st.sampled_from(["infer", "versions/1/infer"]), st.none() | st.integers(1, 300))
def test_no_document_is_an_internal_error(
    answering: Answering, document: Any, rest: str, length: int | None
) -> None:
    headers = [] if length is None else [(LENGTH, str(length).encode())]
    body = json.dumps(document).encode()
    answer = _post(answering, f"/v2/models/wide/{rest}", body, headers)
    _is_refused(answer)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.just("x") | JSONS,
            "datatype": DATATYPES | JSONS,
            "shape": st.lists(st.integers(-1, 3), max_size=3) | JSONS,
            "data": st.lists(st.floats() | st.integers() | JSONS, max_size=6) | JSONS,
            "parameters": st.fixed_dictionaries(
                {}, optional={"binary_data_size": st.integers(-9, 20) | JSONS, "a": JSONS}
            ),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.text() | JSONS,
            "parameters": st.dictionaries(st.text(), JSONS, max_size=2),
            "outputs": st.lists(
                st.fixed_dictionaries({}, optional={"name": st.just("y"), "parameters": JSONS})
            )
            | JSONS,
        },
    ),
    st.none() | st.binary(max_size=20),
)
def test_nothing_near_a_request_is_an_internal_error(
    answering: Answering, tensor: dict[str, Any], rest: dict[str, Any], tail: bytes | None
) -> None:
    head = json.dumps({"inputs": [tensor], **rest}).encode()
    headers = [] if tail is None else [(LENGTH, str(len(head)).encode())]
    answer = _post(answering, "/v2/models/wide/infer", head + (tail or b""), headers)
    if answer.status != 200:
        _is_refused(answer)


@settings(deadline=None)
@given(
    st.binary(max_size=64),
    st.sampled_from([b"gzip", b"deflate", b"identity", b"x", b""]),
    st.sampled_from([b"0", b"5", b"-1", b"", b"\xff"]),
)
def test_no_bytes_are_an_internal_error(
    answering: Answering, body: bytes, encoding: bytes, length: bytes
) -> None:
    headers = [(b"content-encoding", encoding), (LENGTH, length)]
    answer = _post(answering, "/v2/models/wide/infer", body, headers)
    if answer.status != 200:
        _is_refused(answer)


def _is_refused(answer: Answer) -> None:
    assert 400 <= answer.status < 500, answer.body
    assert list(json.loads(answer.body)) == ["error"]
    assert json.loads(answer.body)["error"]
