"""The best classes of a row of scores, and what classes are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.serving.domain.formats import Format
from services.serving.worker.classification import best, shape_of
from services.serving.worker.labels import labels_of
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import DTYPES, Array, decode_strings
from tests.harness import onnx_models

BIRDS = ["crow", "owl", "wren"]
SCORES = TensorSpec(name="scores", datatype="FP32", shape=(-1, 3))


def _best(scores: Array, count: int, spec: TensorSpec = SCORES) -> list[str]:
    raw = best(spec, scores.shape, scores.tobytes(), count, BIRDS)
    return decode_strings(raw, int(np.prod(shape_of(spec, scores.shape, count))))


def test_missing_score_is_the_worst() -> None:
    row = np.array([[np.nan, -3, 2]], np.float32)
    assert _best(row, 2) == ["2.000000:2:wren", "-3.000000:1:owl"]


def test_infinite_scores_are_scores() -> None:
    row = np.array([[-np.inf, np.inf, 0]], np.float32)
    assert _best(row, 3) == ["inf:1:owl", "0.000000:2:wren", "-inf:0:crow"]


def test_labels_that_are_not_as_many_as_scores_are_left_out() -> None:
    spec = TensorSpec(name="scores", datatype="INT64", shape=(-1, 2))
    assert _best(np.array([[5, 7]]), 1, spec) == ["7:1"]


def test_output_without_rows_has_one_list_of_classes() -> None:
    spec = TensorSpec(name="scores", datatype="UINT8", shape=(3,))
    assert shape_of(spec, (3,), 2) == (2,)
    assert _best(np.array([0, 255, 3], np.uint8), 2, spec) == ["255:1:owl", "3:2:wren"]


@given(
    scores=arrays.arrays(
        st.sampled_from([DTYPES[name] for name in ("FP32", "FP64", "INT8", "UINT64")]),
        st.tuples(st.integers(1, 4), st.just(5)),
    ),
    count=st.integers(1, 9),
)
def test_classes_fall_in_score_and_equal_ones_rise_in_index(scores: Array, count: int) -> None:
    name = next(name for name, dtype in DTYPES.items() if dtype == scores.dtype)
    spec = TensorSpec(name="scores", datatype=name, shape=(-1, 5))
    found = iter(_best(scores, count, spec))
    for row in scores:
        places = [int(next(found).split(":")[1]) for _ in range(min(count, 5))]
        ranks = [(-np.inf if np.isnan(score) else score) for score in row]
        assert places == sorted(range(5), key=lambda place: (-_exact(ranks[place]), place))[:count]


def _exact(score: float | np.generic) -> float | int:
    """Without the wrap-around that unsigned numbers have."""
    return score.item() if isinstance(score, np.generic) else score


def test_labels_file_beside_the_model_counts_before_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_models.classifier(BIRDS))
    assert labels_of(path, Format.ONNX) == ("crow", "owl", "wren")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    assert labels_of(path, Format.ONNX) == ("a", "b", "c")


@pytest.mark.parametrize("model", [onnx_models.simple(), onnx_models.flights(), b"", b"no model"])
def test_other_files_have_no_labels(tmp_path: Path, model: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    assert labels_of(path, Format.ONNX) == ()


def test_damaged_graph_has_some_labels_or_none_and_nothing_else_happens(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = onnx_models.classifier(BIRDS)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert set(labels_of(path, Format.ONNX)) <= set(BIRDS)
