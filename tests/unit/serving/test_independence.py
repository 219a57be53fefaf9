"""Requests share a run only where the rows of a model leave one another alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Reply
from services.serving.worker.independence import rows_are_independent
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import Array
from tests.harness import onnx_models
from tests.harness.callers import Answers, one_row
from tests.harness.data_plane import DataPlane, data_plane


@pytest.fixture
def plane(tmp_path: Path) -> DataPlane:
    return data_plane(tmp_path)


@pytest.mark.parametrize(
    "onnx",
    [
        onnx_models.simple(),
        onnx_models.flights(),
        onnx_models.constant(1.0),
        onnx_models.of_every_type(),
        onnx_models.any_width(),
        onnx_models.classifier(["a", "b"]),
    ],
)
def test_models_that_take_rows_one_by_one_are_batched(plane: DataPlane, onnx: bytes) -> None:
    assert plane.load("m", 1, onnx).independent


@pytest.mark.parametrize("onnx", [onnx_models.centred(), onnx_models.running_total()])
def test_models_whose_rows_meddle_are_told_apart(plane: DataPlane, onnx: bytes) -> None:
    assert not plane.load("m", 1, onnx).independent


def test_model_of_large_pictures_runs_each_request_alone_without_a_trial() -> None:
    def run(feed: Mapping[str, Array]) -> Sequence[Array]:
        tried.append(feed)
        return []

    tried: list[Mapping[str, Array]] = []
    picture = TensorSpec(name="picture", datatype="FP32", shape=(-1, 3, 2160, 3840))
    assert not rows_are_independent([picture], run)
    assert tried == []


def test_strangers_rows_do_not_change_an_answer(plane: DataPlane) -> None:
    plane.answer_with({"m": plane.load("m", 1, onnx_models.centred())})
    answers = Answers()
    calls = [answers.arrival(call, one_row("m", [call, 2, 3, 4])) for call in range(4)]
    plane.inference.accept(calls)
    found = answers.wait(4)
    assert [_values(found[call]) for call in range(4)] == [[0, 0, 0, 0]] * 4
    (counted,) = plane.statistics.of([("m", 1)])
    assert list(counted.batches) == [1]


def _values(answer: object) -> list[float]:
    assert isinstance(answer, Reply)
    (raw,) = oip.ModelInferResponse.FromString(answer.payload).raw_output_contents
    values: list[float] = np.frombuffer(raw, np.float32).tolist()
    return values
