"""A model in memory: an ONNX Runtime session and the tensors it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from headrace.errors import Refused
from headrace.limits import RESERVED_COLUMNS
from services.serving.worker.tensors import BYTES, DTYPES, Array

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
_PLATFORM: Final = "onnxruntime_onnx"
_WARM_RUNS: Final = 3
_SMOKE_ROWS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One input or output: -1 in the shape is a dimension of any size; the first one is rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def text(self) -> str:
        """The shape as error messages print it."""
        return f"[{','.join(map(str, self.shape))}]"


class Model:
    """One version of one model, ready to run from any thread. Load with `load`."""

    def __init__(
        self, *, name: str, version: int, session: Any, logged_outputs: Sequence[int]
    ) -> None:
        self.name = name
        self.version = version
        self.version_text = str(version)
        self.platform = _PLATFORM
        self.inputs = tuple(_specs(session.get_inputs(), "input"))
        self.outputs = tuple(_specs(session.get_outputs(), "output"))
        self.input_places = {spec.name: place for place, spec in enumerate(self.inputs)}
        self.output_places = {spec.name: place for place, spec in enumerate(self.outputs)}
        self.logged_outputs = tuple(logged_outputs)
        self._names = [spec.name for spec in self.outputs]
        self._session = session

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """All outputs, in their declared order. Raises what the runtime raises."""
        outputs: list[Array] = self._session.run(self._names, feed)
        return outputs


def load(path: Path, *, name: str, version: int) -> Model:
    """Load a model file and warm it with a smoke run.

    Raises Refused when it is not an ONNX model, has tensors that the protocol cannot carry or
    inputs named like columns of labelled data, or fails on rows of zeros and empty strings.
    """
    session = _session(path)
    inputs = list(_specs(session.get_inputs(), "input"))
    if not inputs or any(not spec.shape for spec in inputs):
        raise Refused(f"{path.name}: every input needs a first dimension for the rows")
    reserved = sorted(RESERVED_COLUMNS.intersection(spec.name for spec in inputs))
    if reserved:
        raise Refused(
            f"{path.name}: input {reserved[0]!r} is named like a column of labelled data; rename it"
        )
    shapes = _smoke(path, session, inputs)
    logged = [place for place, shape in enumerate(shapes) if shape and shape[0] == _rows(inputs)]
    return Model(name=name, version=version, session=session, logged_outputs=logged)


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise Refused(f"{path.name} is not a model that ONNX Runtime loads: {error}") from error


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


def _rows(inputs: Sequence[TensorSpec]) -> int:
    first = inputs[0].shape[0]
    return _SMOKE_ROWS if first == -1 else first


def _smoke(path: Path, session: Any, inputs: Sequence[TensorSpec]) -> list[tuple[int, ...]]:
    rows = _rows(inputs)
    feed = {spec.name: _blank(spec, rows) for spec in inputs}
    try:
        for _ in range(_WARM_RUNS):
            outputs = session.run(None, feed)
    except Exception as error:
        raise Refused(f"{path.name} fails on a smoke run of {rows} blank rows: {error}") from error
    return [np.shape(output) for output in outputs]


def _blank(spec: TensorSpec, rows: int) -> Array:
    shape = (rows, *(1 if size == -1 else size for size in spec.shape[1:]))
    if spec.datatype == BYTES:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=DTYPES[spec.datatype])
