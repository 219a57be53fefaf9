"""Outputs asked for as their best classes, by unmodified clients of Triton over both transports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import NOTHING_BESIDE
from tests.harness import onnx_models
from tests.harness.data_plane import DataPlane, data_plane

BIRDS = ["crow", "owl", "wren"]
ROWS = np.array([[0.25, 0.5, 0.125], [1, -2, 1]], np.float32)
BEST_TWO = [[b"0.500000:1:owl", b"0.250000:0:crow"], [b"1.000000:0:crow", b"1.000000:2:wren"]]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> DataPlane:
    """birds and numbers with labels in their graphs, simple without."""
    made = data_plane(tmp_path_factory.mktemp("models"))
    made.answer_with(
        {
            "birds": made.load("birds", 1, onnx_models.classifier(BIRDS)),
            "numbers": made.load("numbers", 1, onnx_models.classifier([7, -1, 9])),
            "simple": made.load("simple", 1, onnx_models.simple()),
        }
    )
    return made


@pytest.fixture(scope="module", params=["native", "grpcio"])
def client(request: pytest.FixtureRequest, birds: DataPlane) -> Iterator[Any]:
    with (
        birds.listening(request.param) as front,
        triton.InferenceServerClient(f"127.0.0.1:{front.port}") as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def http(birds: DataPlane) -> Iterator[Any]:
    with birds.listening_rest() as address:
        client = triton_http.InferenceServerClient(address)
        yield client
        client.close()


def _rows(kind: Any = triton) -> Any:
    tensor = kind.InferInput("x", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS)
    return tensor


def test_best_classes_come_as_score_index_and_label(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("scores", class_count=2)]
    result = client.infer("birds", [_rows()], outputs=wanted)
    assert result.as_numpy("scores").tolist() == BEST_TWO
    assert result.get_output("scores").datatype == "BYTES"


@pytest.mark.parametrize("binary", [True, False])
def test_best_classes_over_http(http: Any, *, binary: bool) -> None:
    wanted = [triton_http.InferRequestedOutput("scores", binary_data=binary, class_count=2)]
    result = http.infer("birds", [_rows(triton_http)], outputs=wanted)
    found = result.as_numpy("scores")
    text = BEST_TWO if binary else [[each.decode() for each in row] for row in BEST_TWO]
    assert found.tolist() == text


def test_other_outputs_of_the_request_come_as_they_are(client: Any) -> None:
    wanted = [
        triton.InferRequestedOutput("label"),
        triton.InferRequestedOutput("scores", class_count=1),
    ]
    result = client.infer("birds", [_rows()], outputs=wanted)
    assert result.as_numpy("label").tolist() == [b"owl", b"crow"]
    assert result.as_numpy("scores").tolist() == [[BEST_TWO[0][0]], [BEST_TWO[1][0]]]


def test_no_more_classes_come_than_there_are(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("scores", class_count=50)]
    result = client.infer("birds", [_rows()], outputs=wanted)
    assert result.as_numpy("scores").shape == (2, 3)


def test_labels_may_be_numbers(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("scores", class_count=1)]
    result = client.infer("numbers", [_rows()], outputs=wanted)
    assert result.as_numpy("scores").tolist() == [[b"0.500000:1:-1"], [b"1.000000:0:7"]]


def test_model_without_labels_gives_score_and_index(client: Any) -> None:
    inputs = []
    for name in ("INPUT0", "INPUT1"):
        tensor = triton.InferInput(name, [1, 16], "INT32")
        tensor.set_data_from_numpy(np.arange(16, dtype=np.int32).reshape(1, 16))
        inputs.append(tensor)
    wanted = [triton.InferRequestedOutput("OUTPUT0", class_count=2)]
    result = client.infer("simple", inputs, outputs=wanted)
    assert result.as_numpy("OUTPUT0").tolist() == [[b"30:15", b"28:14"]]


def test_text_has_no_classes(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("label", class_count=1)]
    with pytest.raises(InferenceServerException, match="unsupported type 'BYTES'"):
        client.infer("birds", [_rows()], outputs=wanted)


def test_classes_in_typed_contents(birds: DataPlane) -> None:
    request = oip.ModelInferRequest(model_name="birds", raw_input_contents=[ROWS.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=ROWS.shape)
    request.outputs.add(name="scores").parameters["classification"].int64_param = 1
    request.parameters["typed_contents"].bool_param = True
    reply = birds.inference.infer(request.SerializeToString(), NOTHING_BESIDE)
    (output,) = oip.ModelInferResponse.FromString(reply.payload).outputs
    assert list(output.shape) == [2, 1]
    assert list(output.contents.bytes_contents) == [BEST_TWO[0][0], BEST_TWO[1][0]]


def test_extension_is_reported(client: Any) -> None:
    assert "classification" in client.get_server_metadata().extensions
