"""Clients that do what no client should: others are answered meanwhile, and memory is bounded.

The server is a process of its own, so that its memory is not the clients'.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.fronts import Kind
from tests.harness import http2
from tests.harness.data_plane_process import DataPlaneProcess, data_plane_process

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
MEBIBYTE = 2**20
MOST_GROWTH = 64 * MEBIBYTE


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DataPlaneProcess]:
    kind: Kind = request.param
    with data_plane_process(kind, tmp_path_factory.mktemp("models")) as running:
        for _ in range(50):
            _answers(running)
        yield running


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=300))
def test_bytes_that_are_no_frames_end_their_connection_only(
    server: DataPlaneProcess, noise: bytes
) -> None:
    _send(server, noise)
    _send(server, http2.opened() + noise)
    _answers(server)


@settings(max_examples=100)
@given(
    place=st.integers(0, 10_000),
    change=st.sampled_from(["flip", "cut", "double"]),
    bit=st.integers(0, 7),
)
def test_damaged_session_ends_its_connection_only(
    server: DataPlaneProcess, place: int, change: str, bit: int
) -> None:
    whole = http2.opened() + http2.call(1, INFER, _simple()) + http2.call(3, LIVE, b"")
    at = place % len(whole)
    match change:
        case "flip":
            damaged = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        case "cut":
            damaged = whole[:at]
        case _:
            damaged = whole[:at] + whole[at // 2 :]
    _send(server, damaged)
    _answers(server)


@settings(max_examples=60)
@given(
    kind=st.integers(0, 12),
    stream=st.sampled_from([0, 1, 2, 3, 2**31 - 1]),
    flags=st.integers(0, 255),
    payload=st.binary(max_size=40),
)
def test_frames_out_of_place_end_their_connection_only(
    server: DataPlaneProcess, kind: int, stream: int, flags: int, payload: bytes
) -> None:
    odd = http2.frame(kind, stream, payload, flags)
    _send(server, http2.opened() + odd + http2.headers(1, INFER) + odd)
    _answers(server)


@pytest.mark.parametrize("length", [0, 1, 8, 2**31, 2**32 - 1])
def test_length_of_a_message_that_is_a_lie_costs_no_memory(
    server: DataPlaneProcess, length: int
) -> None:
    before = server.memory
    lie = http2.headers(1, INFER) + http2.data(1, http2.message(_simple(), length=length))
    for _ in range(20):
        _send(server, http2.opened() + lie)
    _answers(server)
    assert server.memory - before < MOST_GROWTH


def test_truncated_request_is_refused_wherever_it_ends(server: DataPlaneProcess) -> None:
    whole = _simple()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer = channel.unary_unary(INFER)
        codes = {_code(infer, whole[:length]) for length in range(len(whole))}
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


@pytest.mark.parametrize(
    "shape",
    [
        [2**40, 16],
        [2**62, 2**62],
        [2**63 - 1, 16],
        [-1, 16],
        [0, 16],
        [1, 0],
        [0],
        [],
        [1] * 2000,
        [-(2**63), -(2**63)],
    ],
    ids=lambda shape: str(shape[:3]),
)
@pytest.mark.parametrize("size", [0, 64])
def test_huge_and_empty_shapes_are_refused(
    server: DataPlaneProcess, shape: list[int], size: int
) -> None:
    request = oip.ModelInferRequest(model_name="simple", raw_input_contents=[bytes(size)] * 2)
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="INT32", shape=shape)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        code = _code(channel.unary_unary(INFER), request.SerializeToString())
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_thousands_of_inputs_are_refused_in_few_words(server: DataPlaneProcess) -> None:
    request = oip.ModelInferRequest(model_name="simple", raw_input_contents=[b"\0" * 64] * 5000)
    for number in range(5000):
        request.inputs.add(name=f"input-{number}", datatype="INT32", shape=[1, 16])
    with (
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(INFER)(request.SerializeToString())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.details()) < 2000


def test_calls_taken_back_at_once_cost_no_memory(server: DataPlaneProcess) -> None:
    """Rapid resets: 20,000 on one connection. Others get through, if not at the first attempt."""
    before = server.memory
    with _connected(server) as connection:
        connection.sendall(http2.opened())
        for first in range(1, 40_000, 2000):
            calls = [
                http2.call(stream, INFER, _simple()) + http2.reset(stream)
                for stream in range(first, first + 2000, 2)
            ]
            if not _sent(connection, b"".join(calls)):
                break
            _until(lambda: _gets_through(server))
    _answers(server)
    assert server.memory - before < MOST_GROWTH


def test_client_that_reads_no_answers_costs_no_more_than_its_calls(
    server: DataPlaneProcess,
) -> None:
    """A window of nothing: 2,000 answers of 64 KiB have nowhere to go."""
    before = server.memory
    request = _wide(columns=16 * 1024)
    with _connected(server) as connection:
        connection.sendall(http2.opened(window=0))
        for stream in range(1, 4000, 2):
            if not _sent(connection, http2.call(stream, INFER, request)):
                break
        _answers(server)
        assert server.memory - before < 2 * MOST_GROWTH
    _answers(server)


def test_connections_that_say_nothing_keep_nobody_waiting(server: DataPlaneProcess) -> None:
    before = server.memory
    with ExitStack() as stack:
        for number in range(500):
            connection = stack.enter_context(_connected(server))
            connection.sendall([b"", http2.PREFACE[:7], http2.opened()][number % 3])
        half = http2.opened() + http2.headers(1, INFER) + http2.data(1, b"\0\0\0", last=False)
        for _ in range(200):
            stack.enter_context(_connected(server)).sendall(half)
        _answers(server)
        assert server.memory - before < MOST_GROWTH


def test_flood_of_connections_leaves_no_files_open(server: DataPlaneProcess) -> None:
    _answers(server)
    before, files = server.memory, server.files
    for number in range(1500):
        with _connected(server) as connection:
            connection.sendall(http2.opened() + http2.call(1, LIVE, b""))
            if number % 2:
                # Closed with a reset instead of an end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    _answers(server)
    _until(lambda: server.files <= files + 20)
    assert server.memory - before < MOST_GROWTH


def test_rest_clients_that_stop_in_the_middle_keep_nobody_waiting(
    server: DataPlaneProcess,
) -> None:
    host, port = server.rest.split(":")
    before = server.memory
    begun = b"POST /v2/models/simple/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 60000000\r\n\r\n{"
    with ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(socket.create_connection((host, int(port)), 10))
            connection.sendall(begun[: random.Random(number).randrange(len(begun) + 1)])
        with socket.create_connection((host, int(port)), 10) as other:
            other.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert other.recv(1000).startswith(b"HTTP/1.1 200")
        assert server.memory - before < MOST_GROWTH


def _answers(server: DataPlaneProcess) -> None:
    """Another client is served."""
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        inputs = []
        for name in ("INPUT0", "INPUT1"):
            tensor = triton.InferInput(name, [1, 16], "INT32")
            tensor.set_data_from_numpy(np.ones((1, 16), np.int32))
            inputs.append(tensor)
        result = client.infer("simple", inputs, client_timeout=30)
    assert result.as_numpy("OUTPUT0").sum() == 32


def _gets_through(server: DataPlaneProcess) -> bool:
    try:
        _answers(server)
    except InferenceServerException:
        return False
    return True


def _simple() -> bytes:
    request = oip.ModelInferRequest(model_name="simple", raw_input_contents=[b"\0" * 64] * 2)
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
    return request.SerializeToString()


def _wide(*, columns: int) -> bytes:
    request = oip.ModelInferRequest(model_name="wide", raw_input_contents=[bytes(4 * columns)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, columns])
    return request.SerializeToString()


def _connected(server: DataPlaneProcess) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 10)
    connection.settimeout(2)
    return connection


def _send(server: DataPlaneProcess, session: bytes) -> None:
    """All of it, whether the server likes it or not, and take a look at what it says."""
    with _connected(server) as connection:
        connection.settimeout(0.02)
        if _sent(connection, session):
            _read(connection)


def _sent(connection: socket.socket, content: bytes) -> bool:
    """Whether the server took all of it."""
    try:
        connection.sendall(content)
    except OSError:
        return False
    return True


def _read(connection: socket.socket) -> None:
    try:
        connection.recv(4096)
    except OSError:
        return


def _code(call: grpc.UnaryUnaryMultiCallable, payload: bytes) -> grpc.StatusCode:
    try:
        call(payload, timeout=30)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
