"""Whatever bytes come, a call answers or fails with a status of its own, and the next one works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import NOTHING_BESIDE, Reply, Stream
from services.serving.worker.failure import Failure
from tests.harness import onnx_models
from tests.harness.data_plane import DataPlane, data_plane

_T = TypeVar("_T")
_names = st.sampled_from(["simple", "empty", "nope", "", "\N{SNOWMAN}"])
_versions = st.sampled_from(["", "1", "2", "x", "-1", "9" * 30])
_requests = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda name, version: oip.ModelReadyRequest(name=name, version=version).SerializeToString(),
        _names,
        _versions,
    ),
    st.builds(
        lambda repository, name: oip.RepositoryModelLoadRequest(
            repository_name=repository, model_name=name
        ).SerializeToString(),
        _names,
        _names,
    ),
)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> DataPlane:
    made = data_plane(tmp_path_factory.mktemp("models"))
    made.answer_with({"simple": made.load("simple", 1, onnx_models.simple()), "empty": None})
    return made


@given(payload=_requests, cut=st.integers(0, 200))
def test_unary_calls_end_with_an_answer_or_a_status(
    plane: DataPlane, payload: bytes, cut: int
) -> None:
    for call in plane.dispatcher.methods().values():
        for given_bytes in (payload, payload[:cut]):
            outcome = _outcome(partial(call, given_bytes, NOTHING_BESIDE))
            assert isinstance(outcome, Reply) or outcome.message


@given(payloads=st.lists(_requests, max_size=5))
def test_inference_stream_answers_each_request_once(
    plane: DataPlane, payloads: list[bytes]
) -> None:
    run = plane.dispatcher.streams()["/inference.GRPCInferenceService/ModelStreamInfer"]
    answers = list(run(_stream(payloads)))
    assert len(answers) == len(payloads)


@given(payload=_requests)
def test_reflection_answers_or_ends_with_a_status(plane: DataPlane, payload: bytes) -> None:
    run = plane.dispatcher.streams()["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
    outcome = _outcome(lambda: list(run(_stream([payload]))))
    assert len(outcome) == 1 if isinstance(outcome, list) else outcome.message


def _outcome(call: Callable[[], _T]) -> _T | Failure:
    """What a call returns, or the status that it ends with; anything else is raised."""
    try:
        return call()
    except Failure as failure:
        return failure


def _stream(payloads: list[bytes]) -> Stream:
    requests: Iterator[bytes] = iter(payloads)
    return Stream(requests=requests, details=NOTHING_BESIDE, is_open=lambda: True)
