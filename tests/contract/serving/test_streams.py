"""ModelStreamInfer as Triton's clients use it, and what every stream promises on both fronts."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2

from services.serving.worker.fronts import Kind
from tests.harness import onnx_models
from tests.harness.data_plane import DataPlane, data_plane

pb = triton.service_pb2
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
ROW = np.zeros((1, 16), dtype=np.int32).tobytes()


def _inputs(value: int) -> list[triton.InferInput]:
    tensors = []
    for name in ("INPUT0", "INPUT1"):
        tensor = triton.InferInput(name, [1, 16], "INT32")
        tensor.set_data_from_numpy(np.full((1, 16), value, np.int32))
        tensors.append(tensor)
    return tensors


def _request(request_id: str, model: str = "simple") -> Any:
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
    request.raw_input_contents.extend([ROW, ROW])
    return request


def _wide(request_id: str, columns: int) -> Any:
    request = pb.ModelInferRequest(model_name="wide", id=request_id)
    request.inputs.add(name="x", datatype="FP32", shape=[1, columns])
    request.raw_input_contents.append(bytes(4 * columns))
    return request


class _Requests:
    """Requests of a stream that the test gives one by one."""

    def __init__(self, *first: Any) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()
        for request in first:
            self._queue.put(request)

    def send(self, request: Any) -> None:
        self._queue.put(request)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[Any]:
        while (request := self._queue.get(timeout=30)) is not None:
            yield request


def _stream(channel: grpc.Channel, requests: Any, **options: Any) -> Any:
    stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.ModelStreamInfer(iter(requests), timeout=60, **options)


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_many_requests_are_answered_on_one_stream_in_their_order(
    client: triton.InferenceServerClient,
) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(200):
        client.async_stream_infer("simple", _inputs(number), request_id=str(number))
    for number in range(200):
        result, error = answers.get(timeout=20)
        assert error is None
        assert result.get_response().id == str(number)
        assert result.as_numpy("OUTPUT0")[0, 0] == 2 * number
    client.stop_stream()


def test_error_leaves_the_stream_open_and_names_its_request(url: str) -> None:
    requests = _Requests(_request("1"), _request("2", model="nope"), _request("3"))
    with grpc.insecure_channel(url) as channel:
        answers = _stream(channel, requests)
        first, second, third = (next(answers) for _ in range(3))
        requests.end()
        assert next(answers, None) is None
    assert (first.error_message, first.infer_response.id) == ("", "1")
    assert second.error_message == "Request for unknown model: 'nope' is not found"
    assert second.infer_response.id == "2"
    assert (third.error_message, third.infer_response.id) == ("", "3")


def test_client_gets_errors_by_its_callback_and_goes_on(
    client: triton.InferenceServerClient,
) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("nope", _inputs(1))
    _, error = answers.get(timeout=20)
    assert error.message() == "Request for unknown model: 'nope' is not found"
    client.async_stream_infer("simple", _inputs(1))
    result, error = answers.get(timeout=20)
    assert error is None
    assert result.as_numpy("OUTPUT0")[0, 0] == 2
    client.stop_stream()


def test_who_asks_for_real_statuses_gets_them_and_the_stream_ends(url: str) -> None:
    requests = _Requests(_request("1"), _request("2", model="nope"), _request("3"))
    with grpc.insecure_channel(url) as channel:
        answers = _stream(channel, requests, metadata=[("triton_grpc_error", "true")])
        assert next(answers).infer_response.id == "1"
        with pytest.raises(grpc.RpcError) as failed:
            next(answers)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert failed.value.details() == "Request for unknown model: 'nope' is not found"
    requests.end()


def test_every_answer_says_that_it_is_the_last_of_its_request(
    client: triton.InferenceServerClient,
) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("simple", _inputs(1), enable_empty_final_response=True)
    result, _ = answers.get(timeout=20)
    client.stop_stream()
    assert result.get_response().parameters["triton_final_response"].bool_param
    assert result.as_numpy("OUTPUT0")[0, 0] == 2


def test_bytes_that_are_no_request_are_an_error_of_that_request_only(url: str) -> None:
    with grpc.insecure_channel(url) as channel:
        call = channel.stream_stream(STREAM)
        good = _request("2").SerializeToString()
        answers = [
            pb.ModelStreamInferResponse.FromString(answer)
            for answer in call(iter([b"\xff\xff\xff", good]), timeout=20)
        ]
    assert answers[0].error_message == "the request is not a inference.ModelInferRequest"
    assert answers[1].infer_response.id == "2"


async def test_asyncio_client_streams_too(url: str) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield {"model_name": "simple", "inputs": _inputs(number), "request_id": str(number)}
        yield {"model_name": "nope", "inputs": _inputs(0)}

    async with triton_aio.InferenceServerClient(url) as client:
        seen = [answer async for answer in client.stream_infer(requests())]
    assert [result.as_numpy("OUTPUT0")[0, 0] for result, _ in seen[:3]] == [0, 2, 4]
    assert str(seen[3][1]) == "Request for unknown model: 'nope' is not found"


def test_stream_ends_when_the_client_has_no_more_requests(url: str) -> None:
    with grpc.insecure_channel(url) as channel:
        assert list(_stream(channel, [])) == []


def test_client_that_does_not_read_is_not_served_into_memory(tmp_path: Any, kind: Kind) -> None:
    plane = _with_wide(tmp_path)
    count, columns = 100, 250_000  # 100 answers of 1 MB
    with (
        plane.listening(kind) as front,
        grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel,
    ):
        answers = _stream(channel, [_wide(str(number), columns) for number in range(count)])
        seen = [-1]

        def at_rest() -> bool:
            seen.append(_executions(plane))
            time.sleep(0.3)
            return 0 < seen[-1] == seen[-2]

        _until(at_rest, "the server stops answering")
        assert seen[-1] < count // 2
        assert [answer.infer_response.id for answer in answers] == [str(n) for n in range(count)]
    assert _executions(plane) == count


def test_open_streams_keep_no_other_call_waiting(url: str) -> None:
    with grpc.insecure_channel(url) as channel, triton.InferenceServerClient(url) as client:
        opened = []
        for number in range(20):
            requests = _Requests(_request(str(number)))
            opened.append((requests, _stream(channel, requests)))
        for number, (_, answers) in enumerate(opened):
            assert next(answers).infer_response.id == str(number)
        assert client.infer("simple", _inputs(4)).as_numpy("OUTPUT0")[0, 0] == 8
        for requests, answers in opened:
            requests.end()
            assert next(answers, None) is None


def test_one_stream_too_many_is_refused_and_a_place_freed_is_taken(
    plane: DataPlane, kind: Kind
) -> None:
    with (
        plane.listening(kind, max_streams=2) as front,
        grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel,
    ):
        held = [_Requests(_request("1")), _Requests(_request("1"))]
        streams = [_stream(channel, requests) for requests in held]
        assert [next(answers).infer_response.id for answers in streams] == ["1", "1"]
        with pytest.raises(grpc.RpcError) as failed:
            next(_stream(channel, [_request("2")]))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert failed.value.details() == "2 streams are open, which is the limit"
        held[0].end()
        assert next(streams[0], None) is None
        _until(lambda: _is_answered(channel), "the place is free")
        held[1].end()


def test_cancelled_stream_frees_its_place(plane: DataPlane, kind: Kind) -> None:
    with (
        plane.listening(kind, max_streams=1) as front,
        grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel,
    ):
        requests = _Requests(_request("1"))
        answers = _stream(channel, requests)
        next(answers)
        answers.cancel()
        _until(lambda: _is_answered(channel), "the place is free")
        requests.end()


def test_idle_streams_do_not_hold_up_the_end_of_the_server(plane: DataPlane, kind: Kind) -> None:
    with (
        plane.listening(kind) as front,
        grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel,
    ):
        requests = _Requests(_request("1"))
        answers = _stream(channel, requests)
        next(answers)
        began = time.monotonic()
        front.stop(30)
        assert time.monotonic() - began < 10
        with pytest.raises(grpc.RpcError):
            next(answers)
        requests.end()


def test_watched_health_is_told_when_it_changes(tmp_path: Any, kind: Kind) -> None:
    plane = _with_wide(tmp_path)
    with (
        plane.listening(kind) as front,
        grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel,
    ):
        states = _watch(channel, "")
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        plane.serving.retiring = True
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        plane.serving.retiring = False
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        states.cancel()


def test_watched_service_that_is_unknown_is_said_to_be(url: str) -> None:
    with grpc.insecure_channel(url) as channel:
        states = _watch(channel, "nope")
        assert next(states).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        states.cancel()


def test_streams_of_many_clients_each_get_their_own_answers(url: str) -> None:
    failures: list[str] = []

    def ask(client_number: int) -> None:
        ids = [f"{client_number}-{number}" for number in range(30)]
        with grpc.insecure_channel(url) as channel:
            got = [
                answer.infer_response.id
                for answer in _stream(channel, [_request(each) for each in ids])
            ]
        if got != ids:
            failures.append(f"{client_number}: {got}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def _with_wide(directory: Any) -> DataPlane:
    plane = data_plane(directory)
    plane.answer_with({"wide": plane.load("wide", 1, onnx_models.any_width())})
    return plane


def _executions(plane: DataPlane) -> int:
    return plane.statistics.of([("wide", 1)])[0].executions


def _is_answered(channel: grpc.Channel) -> bool:
    try:
        return [answer.infer_response.id for answer in _stream(channel, [_request("9")])] == ["9"]
    except grpc.RpcError:
        return False


def _watch(channel: grpc.Channel, service: str) -> Any:
    watch = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return watch(health_pb2.HealthCheckRequest(service=service), timeout=60)
