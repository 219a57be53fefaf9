"""What an unmodified tritonclient, sync and asyncio, gets from the data plane."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2

from services.serving.worker.tensors import DTYPES
from tests.harness import onnx_models
from tests.harness.data_plane import DataPlane, data_plane


def _input(name: str, datatype: str, values: Any) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


def _simple_inputs(rows: int, seed: int = 0) -> tuple[list[triton.InferInput], Any, Any]:
    random = np.random.default_rng(seed)
    one, two = (random.integers(-1000, 1000, (rows, 16), dtype=np.int32) for _ in range(2))
    return [_input("INPUT0", "INT32", one), _input("INPUT1", "INT32", two)], one, two


def _flight_inputs(carriers: list[bytes], distances: list[float]) -> list[triton.InferInput]:
    return [
        _input("carrier", "BYTES", np.array(carriers, dtype=object).reshape(-1, 1)),
        _input("distance", "FP32", np.array(distances, dtype=np.float32).reshape(-1, 1)),
    ]


def test_server_and_models_say_that_they_are_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.is_model_ready("simple", "3")
    assert client.is_model_ready("simple", "2")
    assert not client.is_model_ready("simple", "99")
    assert not client.is_model_ready("nope")
    assert not client.is_model_ready("empty")


def test_server_metadata_names_only_what_is_served(client: triton.InferenceServerClient) -> None:
    metadata = client.get_server_metadata(as_json=True)
    assert metadata["name"] == "headrace"
    assert metadata["extensions"] == [
        "binary_tensor_data",
        "classification",
        "logging",
        "model_configuration",
        "model_repository",
        "statistics",
    ]


def test_model_metadata_shows_tensors_with_a_free_batch_dimension(
    client: triton.InferenceServerClient,
) -> None:
    metadata = client.get_model_metadata("flights", as_json=True)
    assert metadata == {
        "name": "flights",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "carrier", "datatype": "BYTES", "shape": ["-1", "1"]},
            {"name": "distance", "datatype": "FP32", "shape": ["-1", "1"]},
        ],
        "outputs": [
            {"name": "score", "datatype": "FP32", "shape": ["-1", "1"]},
            {"name": "echo", "datatype": "BYTES", "shape": ["-1", "1"]},
        ],
    }
    assert client.get_model_metadata("simple").versions == ["2", "3"]


@pytest.mark.parametrize("rows", [1, 7])
def test_outputs_are_the_models(client: triton.InferenceServerClient, rows: int) -> None:
    inputs, one, two = _simple_inputs(rows)
    result = client.infer("simple", inputs)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), one + two)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), one - two)


def test_strings_come_in_and_go_out(client: triton.InferenceServerClient) -> None:
    carriers = [b"UA", b"DL", "é☃".encode(), b""]
    result = client.infer("flights", _flight_inputs(carriers, [1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(result.as_numpy("score").ravel(), [101.0, 202.0, 3.0, 4.0])
    assert result.as_numpy("echo").ravel().tolist() == carriers


def test_every_datatype_survives_the_round_trip(client: triton.InferenceServerClient) -> None:
    values: dict[str, Any] = {
        name: np.array([[0, 1], [1, 0]]).astype(dtype) for name, dtype in DTYPES.items()
    }
    values["BYTES"] = np.array([[b"a", b""], [b"long" * 100, b"z"]], dtype=object)
    inputs = [_input(f"in_{name}", name, value) for name, value in values.items()]
    result = client.infer("types", inputs)
    for name, value in values.items():
        np.testing.assert_array_equal(result.as_numpy(f"out_{name}"), value)


def test_typed_contents_answer_as_raw_ones_do(url: str) -> None:
    service = triton.service_pb2
    request = service.ModelInferRequest(model_name="flights")
    carrier = request.inputs.add(name="carrier", datatype="BYTES", shape=[2, 1])
    carrier.contents.bytes_contents.extend([b"UA", b"zz"])
    distance = request.inputs.add(name="distance", datatype="FP32", shape=[2, 1])
    distance.contents.fp32_contents.extend([0.5, 1.5])
    with grpc.insecure_channel(url) as channel:
        answer = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [100.5, 1.5]


def test_request_id_is_echoed_and_the_version_named(client: triton.InferenceServerClient) -> None:
    inputs, _, _ = _simple_inputs(1)
    answer = client.infer("simple", inputs, request_id="abc").get_response()
    assert (answer.id, answer.model_version, answer.model_name) == ("abc", "3", "simple")
    assert all(not output.HasField("contents") for output in answer.outputs)


def test_a_missing_request_id_is_made_up_so_that_labels_can_name_the_prediction(
    client: triton.InferenceServerClient,
) -> None:
    inputs, _, _ = _simple_inputs(1)
    ids = {client.infer("simple", inputs).get_response().id for _ in range(3)}
    assert len(ids) == 3
    assert "" not in ids


def test_pinned_version_answers_when_it_is_asked_for(client: triton.InferenceServerClient) -> None:
    inputs, _, _ = _simple_inputs(1)
    assert client.infer("simple", inputs, model_version="2").get_response().model_version == "2"
    assert client.infer("simple", inputs, model_version="3").get_response().model_version == "3"


def test_only_requested_outputs_come_in_the_order_asked_for(
    client: triton.InferenceServerClient,
) -> None:
    inputs, one, two = _simple_inputs(2)
    wanted = [triton.InferRequestedOutput(name) for name in ("OUTPUT1", "OUTPUT0")]
    result = client.infer("simple", inputs, outputs=wanted)
    names = [output.name for output in result.get_response().outputs]
    assert names == ["OUTPUT1", "OUTPUT0"]
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), one - two)
    only = client.infer("simple", inputs, outputs=wanted[:1])
    assert only.as_numpy("OUTPUT0") is None


def test_compressed_requests_are_understood(client: triton.InferenceServerClient) -> None:
    inputs, one, two = _simple_inputs(64)
    result = client.infer("simple", inputs, compression_algorithm="gzip")
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), one + two)


def test_requests_beyond_four_mebibytes_are_answered(client: triton.InferenceServerClient) -> None:
    values = np.ones((4, 500_000), dtype=np.float32)
    result = client.infer("wide", [_input("x", "FP32", values)])
    assert result.as_numpy("y").shape == values.shape


def test_many_threads_get_their_own_answers(client: triton.InferenceServerClient) -> None:
    def ask(seed: int) -> bool:
        inputs, one, two = _simple_inputs(1 + seed % 5, seed)
        result = client.infer("simple", inputs, request_id=str(seed))
        same = np.array_equal(result.as_numpy("OUTPUT0"), one + two)
        return same and result.get_response().id == str(seed)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


async def test_asyncio_client_is_answered_too(url: str) -> None:
    async with triton_aio.InferenceServerClient(url) as client:
        assert await client.is_server_ready()
        inputs, one, two = _simple_inputs(3)
        result = await client.infer("simple", inputs)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), one + two)


def test_standard_health_check_answers(url: str) -> None:
    with grpc.insecure_channel(url) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        assert check(health_pb2.HealthCheckRequest()).status == 1
        assert check(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"))
        with pytest.raises(grpc.RpcError) as failed:
            check(health_pb2.HealthCheckRequest(service="nope"))
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_worker_without_its_champions_is_alive_but_not_ready(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    with (
        plane.listening("native") as front,
        triton.InferenceServerClient(f"127.0.0.1:{front.port}") as client,
    ):
        assert client.is_server_live()
        assert not client.is_server_ready()


def test_what_was_answered_is_logged_with_its_event_time(
    plane: DataPlane, client: triton.InferenceServerClient
) -> None:
    plane.log.take()
    inputs = _flight_inputs([b"UA", b"DL"], [1.0, 2.0])
    client.infer("flights", inputs, request_id="r1", parameters={"event_time_us": 1_357_000_000})
    (entry,) = plane.log.take()
    assert (entry.request_ids, entry.rows, entry.event_times_us) == (["r1"], 2, [1_357_000_000])
    assert entry.inputs == [b"\x02\0\0\0UA\x02\0\0\0DL", np.array([1, 2], np.float32).tobytes()]
    assert entry.outputs[0] == np.array([101, 202], np.float32).tobytes()


def test_a_full_log_never_fails_an_answer_and_counts_what_it_drops(tmp_path: Path) -> None:
    plane = data_plane(tmp_path, max_log_rows=3)
    plane.answer_with({"flights": plane.load("flights", 1, onnx_models.flights())})
    with (
        plane.listening("native") as front,
        triton.InferenceServerClient(f"127.0.0.1:{front.port}") as client,
    ):
        for _ in range(3):
            client.infer("flights", _flight_inputs([b"UA", b"DL"], [1.0, 2.0]))
    assert plane.log.held_rows == 2
    assert plane.log.dropped_rows == 4
