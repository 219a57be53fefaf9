"""Small real ONNX models for tests of serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]


def simple() -> bytes:
    """Triton's `simple`: INPUT0 and INPUT1 INT32 [-1,16] -> OUTPUT0 sum, OUTPUT1 difference."""
    shape = ["rows", 16]
    return _model(
        nodes=[
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        inputs=[_value(name, TensorProto.INT32, shape) for name in ("INPUT0", "INPUT1")],
        outputs=[_value(name, TensorProto.INT32, shape) for name in ("OUTPUT0", "OUTPUT1")],
    )


def flights() -> bytes:
    """`carrier` BYTES [-1,1] and `distance` FP32 [-1,1] -> `score` FP32 [-1,1], `echo` BYTES.

    score = code(carrier) + distance, where UA is 100, DL is 200 and anything else 0.
    """
    encode = helper.make_node(
        "LabelEncoder",
        ["carrier"],
        ["code"],
        domain="ai.onnx.ml",
        keys_strings=["UA", "DL"],
        values_floats=[100.0, 200.0],
        default_float=0.0,
    )
    return _model(
        nodes=[
            encode,
            helper.make_node("Add", ["code", "distance"], ["score"]),
            helper.make_node("Identity", ["carrier"], ["echo"]),
        ],
        inputs=[
            _value("carrier", TensorProto.STRING, ["rows", 1]),
            _value("distance", TensorProto.FLOAT, ["rows", 1]),
        ],
        outputs=[
            _value("score", TensorProto.FLOAT, ["rows", 1]),
            _value("echo", TensorProto.STRING, ["rows", 1]),
        ],
    )


def constant(value: float) -> bytes:
    """`x` FP32 [-1,4] -> `score` FP32 [-1]: always `value`, so that an answer tells its version."""
    return _model(
        nodes=[
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "value"], ["score"]),
        ],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("score", TensorProto.FLOAT, ["rows"])],
        constants=[
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("value", TensorProto.FLOAT, [], [value]),
        ],
    )


def picky() -> bytes:
    """`x` FP32 [-1,1] -> `score` FP32 [-1,1]: fails on a run with an x of 4 or more."""
    return _model(
        nodes=[
            helper.make_node("Cast", ["x"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "place"], ["score"]),
        ],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 1])],
        outputs=[_value("score", TensorProto.FLOAT, ["rows", 1])],
        constants=[helper.make_tensor("table", TensorProto.FLOAT, [4], [0.0, 1.0, 2.0, 3.0])],
    )


def failing_on_large(value: float) -> bytes:
    """Like `constant`, for rows that sum up to less than 1; the engine fails on others."""
    return _model(
        nodes=[
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["sum"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["values", "place"], ["score"]),
        ],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("score", TensorProto.FLOAT, ["rows"])],
        constants=[
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("values", TensorProto.FLOAT, [1], [value]),
        ],
    )


def wide(*, columns: int) -> bytes:
    """`x` FP32 [-1,4] -> `y` FP32 [-1,columns]: weights of 16 bytes a column."""
    weights = np.ones((4, columns), "<f4")
    return _model(
        nodes=[helper.make_node("MatMul", ["x", "weights"], ["y"])],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("y", TensorProto.FLOAT, ["rows", columns])],
        constants=[numpy_helper.from_array(weights, "weights")],
    )


def endless() -> bytes:
    """`x` FP32 [-1,4] -> `y` the same, after so many steps that no run ends."""
    body = helper.make_graph(
        nodes=[
            helper.make_node("Identity", ["again"], ["go_on"]),
            helper.make_node("Mul", ["before", "before"], ["after"]),
        ],
        name="body",
        inputs=[
            _value("step", TensorProto.INT64, []),
            _value("again", TensorProto.BOOL, []),
            _value("before", TensorProto.FLOAT, None),
        ],
        outputs=[
            _value("go_on", TensorProto.BOOL, []),
            _value("after", TensorProto.FLOAT, None),
        ],
    )
    return _model(
        nodes=[helper.make_node("Loop", ["steps", "always", "x"], ["y"], body=body)],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("y", TensorProto.FLOAT, ["rows", 4])],
        constants=[
            helper.make_tensor("steps", TensorProto.INT64, [], [2**62]),
            helper.make_tensor("always", TensorProto.BOOL, [], [True]),
        ],
    )


def huge() -> bytes:
    """`x` FP32 [-1,4] -> `y` the same plus nothing, through a tensor of 400 GB."""
    return _model(
        nodes=[
            helper.make_node("ConstantOfShape", ["size"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["x", "nothing"], ["y"]),
        ],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("y", TensorProto.FLOAT, ["rows", 4])],
        constants=[helper.make_tensor("size", TensorProto.INT64, [1], [10**11])],
    )


def of_every_type() -> bytes:
    """Identity of one input of each datatype: `in_<DATATYPE>` [-1,2] -> `out_<DATATYPE>`."""
    return _model(
        nodes=[
            helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in ONNX_TYPES
        ],
        inputs=[_value(f"in_{name}", kind, ["rows", 2]) for name, kind in ONNX_TYPES.items()],
        outputs=[_value(f"out_{name}", kind, ["rows", 2]) for name, kind in ONNX_TYPES.items()],
    )


def any_width() -> bytes:
    """`x` FP32 [-1,-1] -> `y` FP32 [-1,-1], the same values."""
    return _model(
        nodes=[helper.make_node("Identity", ["x"], ["y"])],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", "columns"])],
        outputs=[_value("y", TensorProto.FLOAT, ["rows", "columns"])],
    )


def classifier(labels: Sequence[str] | Sequence[int]) -> bytes:
    """`x` FP32 [-1,classes] -> `label` [-1], the best one, and `scores` FP32 [-1,classes]: `x`."""
    count = len(labels)
    named = all(isinstance(label, str) for label in labels)
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        coefficients=[float(row == column) for row in range(count) for column in range(count)],
        intercepts=[0.0] * count,
        **{"classlabels_strings" if named else "classlabels_ints": list(labels)},
    )
    return _model(
        nodes=[node],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", count])],
        outputs=[
            _value("label", TensorProto.STRING if named else TensorProto.INT64, ["rows"]),
            _value("scores", TensorProto.FLOAT, ["rows", count]),
        ],
    )


def total() -> bytes:
    """`x` FP32 [-1,4] -> `sum` FP32 [1] over all rows: an output that has none of its own."""
    return _model(
        nodes=[
            helper.make_node("ReduceSum", ["x"], ["all"], keepdims=0),
            helper.make_node("Unsqueeze", ["all", "axes"], ["sum"]),
        ],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("sum", TensorProto.FLOAT, [1])],
        constants=[helper.make_tensor("axes", TensorProto.INT64, [1], [0])],
    )


def centred() -> bytes:
    """`x` FP32 [-1,4] -> `y` FP32 [-1,4]: less the mean of all rows, so that rows meddle."""
    return _model(
        nodes=[
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("y", TensorProto.FLOAT, ["rows", 4])],
    )


def running_total() -> bytes:
    """`x` FP32 [-1,4] -> `y` FP32 [-1,4]: each row and those before it."""
    return _model(
        nodes=[helper.make_node("CumSum", ["x", "rows"], ["y"])],
        inputs=[_value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[_value("y", TensorProto.FLOAT, ["rows", 4])],
        constants=[helper.make_tensor("rows", TensorProto.INT64, [], [0])],
    )


def without_rows() -> bytes:
    """A model whose input is a scalar: nothing that can be batched."""
    return _model(
        nodes=[helper.make_node("Identity", ["x"], ["y"])],
        inputs=[_value("x", TensorProto.FLOAT, [])],
        outputs=[_value("y", TensorProto.FLOAT, [])],
    )


ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def _value(name: str, kind: int, shape: list[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    *, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any] | None = None
) -> bytes:
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializer=constants or [])
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=8)
    checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
