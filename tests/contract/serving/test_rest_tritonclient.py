"""What an unmodified tritonclient gets over HTTP, sync and asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

from services.serving.worker.tensors import DTYPES


@pytest.fixture
def client(rest: str) -> Iterator[triton.InferenceServerClient]:
    connected = triton.InferenceServerClient(rest)
    yield connected
    connected.close()


def _input(name: str, datatype: str, values: Any, *, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    return tensor.set_data_from_numpy(values, binary_data=binary)


def _simple_inputs(rows: int, *, binary: bool = True) -> tuple[list[Any], Any, Any]:
    random = np.random.default_rng(rows)
    one, two = (random.integers(-1000, 1000, (rows, 16), dtype=np.int32) for _ in range(2))
    inputs = [
        _input(name, "INT32", values, binary=binary)
        for name, values in (("INPUT0", one), ("INPUT1", two))
    ]
    return inputs, one, two


def _every_type() -> dict[str, Any]:
    values: dict[str, Any] = {
        name: np.array([[0, 1], [1, 0]]).astype(dtype) for name, dtype in DTYPES.items()
    }
    values["BYTES"] = np.array([[b"a", b""], ["é☃".encode(), b"z" * 300]], dtype=object)
    return values


def test_server_and_models_say_that_they_are_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.is_model_ready("simple", "2")
    assert not client.is_model_ready("simple", "99")
    assert not client.is_model_ready("nope")
    assert not client.is_model_ready("empty")


def test_metadata_has_the_fields_of_the_grpc_call(
    client: triton.InferenceServerClient, url: str
) -> None:
    with triton_grpc.InferenceServerClient(url) as grpc_client:
        server = grpc_client.get_server_metadata(as_json=True)
        model = grpc_client.get_model_metadata("flights").inputs
    assert client.get_server_metadata() == server
    shown = client.get_model_metadata("flights")
    assert shown["inputs"] == [
        {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        for tensor in model
    ]
    assert set(shown) == {"name", "versions", "platform", "inputs", "outputs"}
    assert client.get_model_metadata("simple")["versions"] == ["2", "3"]


@pytest.mark.parametrize("asked_binary", [True, False])
@pytest.mark.parametrize("sent_binary", [True, False])
def test_every_datatype_survives_the_round_trip(
    client: triton.InferenceServerClient, *, sent_binary: bool, asked_binary: bool
) -> None:
    values = _every_type()
    inputs = [
        _input(f"in_{name}", name, value, binary=sent_binary) for name, value in values.items()
    ]
    outputs = [
        triton.InferRequestedOutput(f"out_{name}", binary_data=asked_binary) for name in values
    ]
    result = client.infer("types", inputs, outputs=outputs)
    for name, value in values.items():
        as_text = name == "BYTES" and not asked_binary
        expected = np.vectorize(bytes.decode, otypes=[object])(value) if as_text else value
        np.testing.assert_array_equal(result.as_numpy(f"out_{name}"), expected)


@pytest.mark.parametrize("answer", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
def test_either_way_may_be_compressed(
    client: triton.InferenceServerClient, request_: str | None, answer: str | None
) -> None:
    inputs, one, two = _simple_inputs(64)
    result = client.infer(
        "simple",
        inputs,
        request_compression_algorithm=request_,
        response_compression_algorithm=answer,
    )
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), one + two)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), one - two)


def test_only_requested_outputs_come_each_in_its_form(
    client: triton.InferenceServerClient,
) -> None:
    inputs, one, two = _simple_inputs(2, binary=False)
    wanted = [
        triton.InferRequestedOutput("OUTPUT1", binary_data=False),
        triton.InferRequestedOutput("OUTPUT0", binary_data=True),
    ]
    result = client.infer("simple", inputs, outputs=wanted)
    shown = result.get_response()["outputs"]
    assert [output["name"] for output in shown] == ["OUTPUT1", "OUTPUT0"]
    assert shown[0]["data"] == (one - two).ravel().tolist()
    assert shown[1]["parameters"] == {"binary_data_size": 2 * 16 * 4}
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), one + two)
    assert client.infer("simple", inputs, outputs=wanted[:1]).as_numpy("OUTPUT0") is None


def test_id_is_echoed_and_the_version_named(client: triton.InferenceServerClient) -> None:
    inputs, _, _ = _simple_inputs(1)
    answer = client.infer("simple", inputs, request_id="abc", model_version="2").get_response()
    assert (answer["id"], answer["model_version"], answer["model_name"]) == ("abc", "2", "simple")


def test_a_missing_id_is_made_up(client: triton.InferenceServerClient) -> None:
    inputs, _, _ = _simple_inputs(1)
    ids = {client.infer("simple", inputs).get_response()["id"] for _ in range(3)}
    assert len(ids) == 3


def test_errors_have_the_status_and_words_of_the_table(
    client: triton.InferenceServerClient,
) -> None:
    with pytest.raises(triton.InferenceServerException, match="unknown model: 'nope'") as failed:
        client.infer("nope", [])
    assert failed.value.status() == "404"
    with pytest.raises(triton.InferenceServerException, match="expected 2 inputs") as failed:
        client.infer("simple", [])
    assert failed.value.status() == "400"


def test_concurrent_calls_get_their_own_answers(rest: str) -> None:
    with triton.InferenceServerClient(rest, concurrency=8) as client:
        asked = []
        for rows in range(1, 65):
            inputs, one, two = _simple_inputs(rows)
            asked.append((client.async_infer("simple", inputs, request_id=str(rows)), one + two))
        for rows, (call, expected) in enumerate(asked, start=1):
            result = call.get_result()
            assert result.get_response()["id"] == str(rows)
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), expected)


def test_bodies_of_several_mebibytes_are_answered(client: triton.InferenceServerClient) -> None:
    values = np.ones((4, 500_000), dtype=np.float32)
    assert client.infer("wide", [_input("x", "FP32", values)]).as_numpy("y").shape == values.shape


async def test_asyncio_client_is_answered_too(rest: str) -> None:
    async with triton_aio.InferenceServerClient(rest) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("simple"))["versions"] == ["2", "3"]
        inputs, one, two = _simple_inputs(3)
        for algorithm in (None, "gzip", "deflate"):
            result = await client.infer(
                "simple",
                inputs,
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), one + two)
