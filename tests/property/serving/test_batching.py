"""Requests that share runs get what they would have got alone, whatever came beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.answered import split_requests
from services.serving.worker.batching.lane import LaneLimits
from services.serving.worker.calls import NOTHING_BESIDE, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.tensors import encode_strings
from tests.harness import onnx_models
from tests.harness.callers import Answers
from tests.harness.data_plane import DataPlane, data_plane

PLANES: dict[int, DataPlane] = {}


@pytest.fixture(scope="module", autouse=True)
def _planes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One whose models run where they are asked, one whose models have queues and threads."""
    for quick_ns in (0, 10**12):
        made = data_plane(
            tmp_path_factory.mktemp("models"), limits=LaneLimits(quick_ns=quick_ns, batch_rows=8)
        )
        made.answer_with(
            {
                "simple": made.load("simple", 2, onnx_models.simple()),
                "flights": made.load("flights", 1, onnx_models.flights()),
                "wide": made.load("wide", 1, onnx_models.any_width()),
            },
            made.load("simple", 1, onnx_models.simple()),
        )
        PLANES[quick_ns] = made


def _tensor(request: Any, name: str, datatype: str, shape: list[int], raw: bytes) -> None:
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request for one of the models: right, or wrong in one of several ways."""
    rows = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 1000))
    random = np.random.default_rng(seed)
    model = draw(st.sampled_from(["simple", "flights", "wide", "nope"]))
    request = oip.ModelInferRequest(model_name=model, id=f"r{seed}")
    outputs: list[str] = []
    if model == "simple":
        request.model_version = draw(st.sampled_from(["", "1", "2", "9"]))
        for name in draw(st.permutations(["INPUT0", "INPUT1"])):
            values = random.integers(-9, 9, (rows, 16)).astype("<i4")
            _tensor(request, name, "INT32", [rows, 16], values.tobytes())
        outputs = draw(st.lists(st.sampled_from(["OUTPUT0", "OUTPUT1"]), max_size=2))
    elif model == "flights":
        carriers = draw(st.lists(st.sampled_from(["UA", "DL", "ß"]), min_size=rows, max_size=rows))
        _tensor(request, "carrier", "BYTES", [rows, 1], encode_strings(carriers))
        distances = random.normal(size=rows).astype("<f4").tobytes()
        _tensor(request, "distance", "FP32", [rows, 1], distances)
        outputs = draw(st.lists(st.sampled_from(["score", "echo"]), max_size=2, unique=True))
    elif model == "wide":
        width = draw(st.integers(1, 3))
        values = random.normal(size=(rows, width)).astype("<f4")
        _tensor(request, "x", "FP32", [rows, width], values.tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    if request.raw_input_contents and draw(st.integers(0, 9)) == 0:
        request.raw_input_contents[0] += b"?"
    return request.SerializeToString()


def _alone(plane: DataPlane, payload: bytes) -> oip.ModelInferResponse | tuple[Code, str]:
    try:
        reply = plane.inference.infer(payload, NOTHING_BESIDE)
    except Failure as failure:
        return failure.code, failure.message
    return oip.ModelInferResponse.FromString(reply.payload)


@pytest.mark.parametrize("quick_ns", [0, 10**12])
@settings(max_examples=60, deadline=None)
@given(payloads=st.lists(requests(), min_size=1, max_size=12))
def test_batched_answers_are_those_given_one_by_one(quick_ns: int, payloads: list[bytes]) -> None:
    plane = PLANES[quick_ns]
    expected = [_alone(plane, payload) for payload in payloads]
    answers = Answers()
    plane.inference.accept([answers.arrival(*each) for each in enumerate(payloads)])
    got = answers.wait(len(payloads))
    for call, wanted in enumerate(expected):
        answer = got[call]
        if isinstance(answer, Reply):
            assert oip.ModelInferResponse.FromString(answer.payload) == wanted
        else:
            assert (answer.code, answer.message) == wanted


@settings(max_examples=30, deadline=None)
@given(payloads=st.lists(requests(), min_size=1, max_size=12))
def test_every_answered_request_is_logged_once_as_it_was_asked(payloads: list[bytes]) -> None:
    plane = PLANES[0]
    plane.log.take()
    answers = Answers()
    plane.inference.accept([answers.arrival(*each) for each in enumerate(payloads)])
    got = answers.wait(len(payloads))
    answered = [
        oip.ModelInferRequest.FromString(payload)
        for call, payload in enumerate(payloads)
        if isinstance(got[call], Reply)
    ]
    logged = [
        (entry.model.name, entry.request_ids[0], entry.rows, sorted(entry.inputs))
        for together in plane.log.take()
        for entry in split_requests(together)
    ]
    asked = [
        (each.model_name, each.id, each.inputs[0].shape[0], sorted(each.raw_input_contents))
        for each in answered
    ]
    assert sorted(logged) == sorted(asked)
