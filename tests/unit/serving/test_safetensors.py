"""Weights in safetensors, for nets that can be run without anybody's code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.worker.model import Model, load
from services.serving.worker.runtimes.safetensors import read

LAYERS = [["linear", "0"], ["relu"], ["linear", "2"], ["softmax"]]


def weights(dtype: str = "f4") -> dict[str, NDArray[Any]]:
    """As PyTorch names those of `Sequential(Linear(3, 8), ReLU(), Linear(8, 2), Softmax(1))`."""
    random = np.random.default_rng(1)
    shapes = {"0.weight": (8, 3), "0.bias": (8,), "2.weight": (2, 8), "2.bias": (2,)}
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def saved(
    folder: Path, tensors: dict[str, NDArray[Any]], layers: Sequence[Any] = LAYERS, **more: str
) -> Path:
    config = {"architecture": "sequential", "layers": layers, **more}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder / "model.safetensors"


def loaded(path: Path) -> Model:
    return load(path, name="m", version=1, kind=Format.SAFETENSORS)


def expected(tensors: dict[str, NDArray[Any]], rows: NDArray[Any]) -> NDArray[Any]:
    wide = {name: each.astype("f8") for name, each in tensors.items()}
    hidden = np.maximum(rows @ wide["0.weight"].T + wide["0.bias"], 0)
    powers = np.exp(hidden @ wide["2.weight"].T + wide["2.bias"])
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_net_answers_as_its_weights_say(tmp_path: Path, dtype: str) -> None:
    tensors = weights(dtype)
    model = loaded(saved(tmp_path, tensors, input="x", output="shares"))
    rows = np.random.default_rng(2).normal(size=(5, 3)).astype("f4")
    (answer,) = model.run({"x": rows})
    np.testing.assert_allclose(answer, expected(tensors, rows), atol=1e-5)
    assert [(each.name, each.datatype, each.shape) for each in (*model.inputs, *model.outputs)] == [
        ("x", "FP32", (-1, 3)),
        ("shares", "FP32", (-1, 2)),
    ]


def test_half_precision_of_the_brain_kind_is_read_exactly(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\x80\x3f\x40\xc0")
    np.testing.assert_array_equal(read(path)["w"], np.array([1.0, -3.0], "f4"))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "hold weights, not what to compute with them: config.json is missing"),
        ("[]", "is not a JSON object"),
        ('{"architectures": ["BertModel"]}', "names the architecture None, which needs code"),
        ('{"architecture": "bert"}', "export the model to ONNX or TorchScript"),
        ('{"architecture": "sequential", "layers": 3}', "expected a list of lists"),
        ('{"architecture": "sequential", "layers": [["relu"]]}', "has no linear layer"),
        ('{"architecture": "sequential", "layers": [["exec", "0"]]}', "expected \\['linear'"),
        ('{"architecture": "sequential", "layers": [["linear", "9"]]}', "expected a matrix '9."),
        (
            '{"architecture": "sequential", "layers": [["linear", "0"], ["linear", "0"]]}',
            "layer '0' takes 3 numbers, it is given 8",
        ),
    ],
)
def test_weights_of_which_nobody_says_what_to_compute_are_refused(
    tmp_path: Path, config: str | None, reason: str
) -> None:
    path = saved(tmp_path, weights())
    (tmp_path / "config.json").unlink()
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(Refused, match=reason):
        loaded(path)


@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
def test_file_that_is_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = saved(tmp_path, weights())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(Refused, match=r"model\.safetensors is not a safetensors file"):
        loaded(path)


@given(
    said=st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "I8", None]),
            "shape": st.lists(st.integers(-3, 2**62), max_size=3),
            "data_offsets": st.lists(st.integers(-9, 2**62), min_size=1, max_size=3),
        }
    )
)
def test_header_that_lies_is_refused(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, Any]
) -> None:
    header = json.dumps({"w": said}).encode()
    path = tmp_path_factory.mktemp("lies") / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    try:
        tensors = read(path)
    except Refused:
        return
    assert tensors["w"].nbytes <= 32
