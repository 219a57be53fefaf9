"""Every format, asked over the wire by an unmodified client, answers as its own library does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray

from headrace.events import FileRef
from services.serving.domain.formats import serveable
from tests.harness import native_models
from tests.harness.data_plane import data_plane
from tests.harness.native_models import Made

_KINDS = {"f": "FP32", "d": "FP64", "l": "INT64", "i": "INT32", "?": "BOOL"}


@pytest.fixture(scope="module", params=list(native_models.MODELS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return native_models.MODELS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def client(
    made: Made, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[triton.InferenceServerClient]:
    plane = data_plane(tmp_path_factory.mktemp("plane"))
    plane.answer_with({"m": plane.load_file("m", made.path, made.kind)})
    with (
        plane.listening("grpcio") as front,
        triton.InferenceServerClient(f"127.0.0.1:{front.port}") as connected,
    ):
        yield connected


def _asked(name: str, values: NDArray[Any]) -> triton.InferInput:
    if values.dtype.kind in "OT":
        values = np.array([[text.encode()] for text in values[:, 0]], dtype=object)
    kind = _KINDS.get(values.dtype.char, "BYTES")
    tensor = triton.InferInput(name, list(values.shape), kind)
    tensor.set_data_from_numpy(values)
    return tensor


def _answered(client: triton.InferenceServerClient, made: Made) -> dict[str, NDArray[Any]]:
    result = client.infer("m", [_asked(name, values) for name, values in made.inputs.items()])
    answers = {
        tensor.name: result.as_numpy(tensor.name) for tensor in result.get_response().outputs
    }
    return {
        name: np.array([text.decode() for text in values]) if values.dtype == object else values
        for name, values in answers.items()
    }


def test_answers_are_the_librarys_own(client: triton.InferenceServerClient, made: Made) -> None:
    answers = _answered(client, made)
    assert list(answers) == list(made.answers)
    for name, expected in made.answers.items():
        assert answers[name].shape == expected.shape
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(answers[name], expected, rtol=0, atol=1e-6)
        else:
            np.testing.assert_array_equal(answers[name], expected)


def test_metadata_says_what_may_be_asked(client: triton.InferenceServerClient, made: Made) -> None:
    metadata = client.get_model_metadata("m")
    assert {tensor.name for tensor in metadata.inputs} == set(made.inputs)
    assert [tensor.name for tensor in metadata.outputs] == list(made.answers)
    for tensor in metadata.outputs:
        expected = made.answers[tensor.name]
        assert list(tensor.shape) == [-1, *expected.shape[1:]]
    platforms = {"onnx": "onnxruntime_onnx", "skops": "sklearn"}
    assert metadata.platform == platforms.get(made.kind.value, made.kind.value)


def test_many_threads_at_once_get_the_same_answers(
    client: triton.InferenceServerClient, made: Made
) -> None:
    with ThreadPoolExecutor(4) as pool:
        all_answers = list(pool.map(lambda _: _answered(client, made), range(12)))
    for answers in all_answers[1:]:
        for name, values in answers.items():
            np.testing.assert_array_equal(values, all_answers[0][name])


def test_names_of_the_files_alone_tell_the_format(made: Made) -> None:
    root = made.path.parent
    files = [
        FileRef(
            path=str(path.relative_to(root)), uri="s3://b/k", digest="sha256:" + "0" * 64, size=1
        )
        for path in root.rglob("*")
        if path.is_file()
    ]
    chosen = serveable(files)
    assert (chosen.format, Path(chosen.model.path)) == (made.kind, made.path.relative_to(root))
