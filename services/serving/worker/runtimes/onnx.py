"""ONNX models, run by ONNX Runtime; the graph itself says what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime

from headrace.errors import Refused
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.tensors import BYTES, Array

_DATATYPES: Final[Mapping[str, str]] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": BYTES,
}


class OnnxRuntime:
    """A session on one thread that does not spin."""

    platform: Final = "onnxruntime_onnx"

    def __init__(self, session: Any) -> None:
        self.inputs = _specs(session.get_inputs(), "input")
        self.outputs = _specs(session.get_outputs(), "output")
        self._names = [spec.name for spec in self.outputs]
        self._session = session

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime."""
        outputs: list[Array] = self._session.run(self._names, feed)
        return outputs


def open_runtime(path: Path) -> OnnxRuntime:
    """Raises Refused: not ONNX, weights outside its folder, types the protocol cannot carry."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise Refused(f"{path.name} is not a model that ONNX Runtime loads: {error}") from error
    return OnnxRuntime(session)


def _specs(declared: Sequence[Any], kind: str) -> list[TensorSpec]:
    return [_spec(tensor, kind) for tensor in declared]


def _spec(tensor: Any, kind: str) -> TensorSpec:
    datatype = _DATATYPES.get(tensor.type)
    if datatype is None:
        raise Refused(
            f"{kind} {tensor.name!r} is a {tensor.type}, which the protocol cannot carry "
            "(convert classifiers with zipmap off)"
        )
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    return TensorSpec(name=tensor.name, datatype=datatype, shape=shape)
