"""The ONNX graph: what the converters make, behind the inputs and outputs of the original.

The converters compute with float32. So that a client need not know which of the two models
answers, each input and output has the original's name, type and shape, and is cast inside; what
precision that costs is for the parity check to find.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np

from headrace.conversion.original import Input, Original, Unconvertible

_OPSET: Final = {"": 17, "ai.onnx.ml": 3}
_INNER: Final = "converted."


def to_onnx(original: Original) -> bytes:
    """Raises Unconvertible when the converters know no way."""
    _register_boosters()
    try:
        inner = _convert(original)
    except Exception as error:
        kind = type(original.estimator).__name__
        raise Unconvertible(f"{kind} cannot be converted: {_short(error)}") from error
    graph: bytes = _dressed(inner, original).SerializeToString(deterministic=True)
    return graph


def _convert(original: Original) -> Any:
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - heavy, the child only
    from skl2onnx.common.data_types import (  # noqa: PLC0415
        FloatTensorType,
        StringTensorType,
    )

    types = [
        (
            each.name,
            (StringTensorType if each.dtype == "object" else FloatTensorType)([None, each.width]),
        )
        for each in original.inputs
    ]
    options = {}
    if hasattr(original.estimator, "predict_proba"):
        options = {id(original.estimator): {"zipmap": False}}
    return convert_sklearn(
        original.estimator, initial_types=types, options=options, target_opset=_OPSET
    )


def _register_boosters() -> None:
    """Teach skl2onnx the boosters' estimators, also inside pipelines."""
    from skl2onnx import update_registered_converter  # noqa: PLC0415
    from skl2onnx.common import shape_calculator as shapes  # noqa: PLC0415

    classes = shapes.calculate_linear_classifier_output_shapes
    numbers = shapes.calculate_linear_regressor_output_shapes
    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for module, prefix, convert in _booster_converters():
        for suffix, calculate, allowed in (
            ("Classifier", classes, options),
            ("Regressor", numbers, None),
        ):
            estimator = getattr(module, f"{prefix}{suffix}")
            alias = f"Headrace{prefix}{suffix}"
            update_registered_converter(
                estimator, alias, calculate, convert, options=allowed, overwrite=True
            )


def _booster_converters() -> list[tuple[Any, str, Any]]:
    """Of those that the model has loaded: module, prefix of its classes, converter."""
    found: list[tuple[Any, str, Any]] = []
    if "xgboost" in sys.modules:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import (  # noqa: PLC0415
            convert_xgboost,
        )

        found.append((sys.modules["xgboost"], "XGB", convert_xgboost))
    if "lightgbm" in sys.modules:
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import (  # noqa: PLC0415
            convert_lightgbm,
        )

        found.append((sys.modules["lightgbm"], "LGBM", convert_lightgbm))
    return found


def _dressed(inner: Any, original: Original) -> Any:
    from onnx import checker, compose, helper  # noqa: PLC0415

    graph = compose.add_prefix(inner, _INNER).graph
    before = [
        _cast_in(each, inside.name)
        for each, inside in zip(original.inputs, graph.input, strict=True)
    ]
    probe = original.answer({each.name: _blank(each) for each in original.inputs})
    after: list[Any] = []
    ends = []
    inner_names = _inner_outputs(graph, original)
    for name, array in probe.items():
        kind = _onnx_type(array.dtype)
        after += _cast_out(inner_names[original.functions[name]], name, kind, array.ndim, graph)
        ends.append(helper.make_tensor_value_info(name, kind, ["rows", *array.shape[1:]]))
    starts = [
        helper.make_tensor_value_info(
            each.name, _onnx_type(np.dtype(each.dtype)), ["rows", each.width]
        )
        for each in original.inputs
    ]
    made = helper.make_graph(
        [*before, *graph.node, *after], "converted", starts, ends, initializer=graph.initializer
    )
    model = helper.make_model(
        made,
        opset_imports=list(inner.opset_import),
        ir_version=8,
        producer_name="headrace",
    )
    checker.check_model(model)
    return model


def _inner_outputs(graph: Any, original: Original) -> dict[str, str]:
    """The converter's outputs by the method that they stand for."""
    names = [output.name for output in graph.output]
    if hasattr(original.estimator, "predict_proba"):
        if len(names) != 2:
            raise Unconvertible(f"the converter gave {len(names)} outputs, expected two")
        return {"predict": names[0], "predict_proba": names[1]}
    return {"predict": names[0]}


def _cast_in(each: Input, inside: str) -> Any:
    """From the input to what the converter calls it, who changes some names."""
    from onnx import TensorProto, helper  # noqa: PLC0415

    if each.dtype == "object":
        return helper.make_node("Identity", [each.name], [inside])
    return helper.make_node("Cast", [each.name], [inside], to=TensorProto.FLOAT)


def _cast_out(inside: str, name: str, kind: int, dimensions: int, graph: Any) -> list[Any]:
    from onnx import TensorProto, helper  # noqa: PLC0415

    shaped = f"{inside}.shaped"
    shape = [-1] if dimensions == 1 else [0, -1]
    size = helper.make_tensor(f"{inside}.shape", TensorProto.INT64, [len(shape)], shape)
    graph.initializer.append(size)
    last = (
        helper.make_node("Identity", [shaped], [name])
        if kind == TensorProto.STRING
        else helper.make_node("Cast", [shaped], [name], to=kind)
    )
    return [helper.make_node("Reshape", [inside, size.name], [shaped]), last]


def _onnx_type(dtype: np.dtype[Any]) -> int:
    from onnx import TensorProto, helper  # noqa: PLC0415

    if dtype.kind in "OUST":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def _blank(each: Input) -> Any:
    if each.dtype == "object":
        return np.full((1, each.width), "", dtype=object)
    return np.zeros((1, each.width), dtype=each.dtype)


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0][:300]
