"""Calls that wait for a slow model, as clients see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.failure import Code
from services.serving.worker.fronts import Kind
from services.serving.worker.fronts.native_front import NativeFront
from tests.harness.callers import one_row
from tests.harness.data_plane import DataPlane, data_plane
from tests.harness.gated_model import GatedSession, gated

INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def session() -> Iterator[GatedSession]:
    made = GatedSession()
    yield made
    made.go.set()


@pytest.fixture
def plane(tmp_path: Path, session: GatedSession) -> DataPlane:
    made = data_plane(tmp_path)
    made.answer_with({"gated": gated(session)})
    return made


@pytest.fixture(params=["native", "grpcio"])
def channel(
    request: pytest.FixtureRequest, plane: DataPlane, session: GatedSession
) -> Iterator[grpc.Channel]:
    kind = cast("Kind", request.param)
    with (
        plane.listening(kind) as front,
        grpc.insecure_channel(f"127.0.0.1:{front.port}") as opened,
    ):
        yield opened
        session.go.set()


def test_health_is_answered_while_a_model_runs(
    channel: grpc.Channel, session: GatedSession
) -> None:
    held = channel.unary_unary(INFER).future(one_row("gated", [1]))
    assert session.begun.acquire(timeout=20)
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    session.go.set()
    assert oip.ModelInferResponse.FromString(held.result(20)).model_name == "gated"


def test_deadline_ends_a_call_whose_model_still_runs(
    channel: grpc.Channel, session: GatedSession
) -> None:
    held = channel.unary_unary(INFER).future(one_row("gated", [1]))
    assert session.begun.acquire(timeout=20)
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(INFER)(one_row("gated", [2]), timeout=0.2)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    session.go.set()
    assert held.result(20)


def test_call_that_its_client_cancelled_is_not_run(plane: DataPlane, session: GatedSession) -> None:
    front = NativeFront(
        methods=plane.dispatcher.methods(),
        accepting=plane.dispatcher.accepting(),
        address="127.0.0.1:0",
        threads=1,
        max_message_bytes=2**20,
        shared_port=False,
    )
    front.start()
    with grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel:
        held = channel.unary_unary(INFER).future(one_row("gated", [1]))
        assert session.begun.acquire(timeout=20)
        given_up = channel.unary_unary(INFER).future(one_row("gated", [2]))
        _until(lambda: front.in_hand == 2)
        given_up.cancel()
        _until(lambda: front.in_hand == 1)
        session.go.set()
        assert held.result(20)
        _until(lambda: plane.statistics.of([("gated", 1)])[0].failures[Code.CANCELLED] == 1)
    front.stop(1)
    assert session.runs == [[1]]


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)
