"""Weights in a safetensors file, for a net that `config.json` beside it describes.

Such a file holds numbers and no computation. What can be run without anybody's code is a chain of
linear layers and activations: `{"architecture": "sequential", "layers": [["linear", "0"], ["relu"],
["linear", "2"], ["softmax"]]}`, where `0.weight` [outputs, inputs] and `0.bias` are tensors of the
file, as PyTorch names those of an `nn.Sequential`. All is computed in FP32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.errors import Refused
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import Array

CONFIG_FILE: Final = "config.json"
_MAX_HEADER: Final = 16 * 1024 * 1024
_LENGTH_BYTES: Final = 8
_DTYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_Step = Callable[[Array], Array]


class SequentialRuntime:
    """One FP32 matrix in, one out."""

    platform: Final = "headrace_sequential"

    def __init__(
        self, steps: Sequence[_Step], *, takes: int, gives: int, names: Sequence[str]
    ) -> None:
        self._steps = list(steps)
        given, answered = names
        self.inputs = [TensorSpec(name=given, datatype="FP32", shape=(-1, takes))]
        self.outputs = [TensorSpec(name=answered, datatype="FP32", shape=(-1, gives))]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        rows = feed[self.inputs[0].name]
        for step in self._steps:
            rows = step(rows)
        return [rows]


def open_runtime(path: Path) -> SequentialRuntime:
    """Raises Refused: no such file, weights that do not fit, an architecture that needs code."""
    config = _config(path.parent / CONFIG_FILE)
    tensors = read(path)
    steps: list[_Step] = []
    width = takes = 0
    for layer in config["layers"]:
        kind, *of = layer
        if kind == "linear" and len(of) == 1:
            weight, bias = _linear(tensors, str(of[0]), width=width)
            takes = takes or weight.shape[1]
            width = weight.shape[0]
            steps.append(_linear_step(weight, bias))
        elif kind in _ACTIVATIONS and not of:
            steps.append(_ACTIVATIONS[kind])
        else:
            raise Refused(
                f"{CONFIG_FILE}: layer {layer!r}: expected ['linear', <prefix of its tensors>] or "
                f"one of {', '.join(_ACTIVATIONS)}"
            )
    if not takes:
        raise Refused(f"{CONFIG_FILE} has no linear layer")
    names = (str(config.get("input", "input-0")), str(config.get("output", "output-0")))
    return SequentialRuntime(steps, takes=takes, gives=width, names=names)


def read(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file as FP32. Raises Refused when it is none, or cut short."""
    try:
        content = path.read_bytes()
        end = _end_of_header(content)
        header = json.loads(content[_LENGTH_BYTES:end])
        data = memoryview(content)[end:]
        return {
            name: _tensor(said, data) for name, said in header.items() if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{path.name} is not a safetensors file: {error!r}") from error


def _end_of_header(content: bytes) -> int:
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    if not _LENGTH_BYTES < end <= min(len(content), _MAX_HEADER):
        raise ValueError("the length of its header is not one")
    return end


def _tensor(said: Mapping[str, Any], data: memoryview) -> Array:
    dtype = np.dtype(_DTYPES[said["dtype"]])
    begin, end = said["data_offsets"]
    shape = tuple(int(size) for size in said["shape"])
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor {list(shape)} at bytes {begin} to {end} of {len(data)}")
    numbers = np.frombuffer(data[begin:end], dtype).reshape(shape)
    if said["dtype"] == "BF16":
        numbers = (numbers.astype("<u4") << 16).view("<f4")
    return numbers.astype(np.float32)


def _config(path: Path) -> Mapping[str, Any]:
    why = "safetensors hold weights, not what to compute with them"
    try:
        config = json.loads(path.read_bytes())
        architecture, layers = config.get("architecture"), config.get("layers", [])
    except OSError as error:
        raise Refused(f"{why}: {path.name} is missing beside them") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise Refused(f"{path.name} is not a JSON object: {error!r}") from error
    if architecture != "sequential":
        raise Refused(
            f"{why}, and {path.name} names the architecture {architecture!r}, which needs code: "
            "'sequential' alone is served; export the model to ONNX or TorchScript"
        )
    if not isinstance(layers, list) or not all(isinstance(each, list) and each for each in layers):
        raise Refused(f"{path.name}: layers: expected a list of lists")
    return dict(config)


def _linear(tensors: Mapping[str, Array], prefix: str, *, width: int) -> tuple[Array, Array]:
    weight = tensors.get(f"{prefix}.weight")
    if weight is None or weight.ndim != 2:
        raise Refused(f"layer {prefix!r}: expected a matrix '{prefix}.weight' in the file")
    if width and weight.shape[1] != width:
        raise Refused(f"layer {prefix!r} takes {weight.shape[1]} numbers, it is given {width}")
    bias = tensors.get(f"{prefix}.bias", np.zeros(len(weight), np.float32))
    if bias.shape != (len(weight),):
        raise Refused(f"layer {prefix!r}: expected a bias of {len(weight)} numbers")
    return weight, bias


def _linear_step(weight: Array, bias: Array) -> _Step:
    turned = np.ascontiguousarray(weight.T)

    def step(rows: Array) -> Array:
        answer: Array = rows @ turned + bias
        return answer

    return step


def _softmax(rows: Array) -> Array:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(rows: Array) -> Array:
    half: Array = np.tanh(rows * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)
    return half


_ACTIVATIONS: Final[Mapping[str, _Step]] = {
    "relu": lambda rows: np.maximum(rows, np.float32(0)),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}
