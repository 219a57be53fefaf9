"""The fitted model as one ONNX graph: text encoders, then the trees, then the probability.

Written by hand because exactness is wanted: the trees were grown on float32 values but keep
float64 thresholds. A threshold rounded down to float32 divides float32 values exactly as the
original does; rounded to nearest it may send a value to the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from examples.flights.features import CATEGORICAL, INPUTS, NUMERIC, OUTPUT
from headrace.errors import Refused

if TYPE_CHECKING:
    from onnx import NodeProto

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8


def export(codes: Mapping[str, Mapping[str, float]], unknown: float, trees: Any) -> bytes:
    """The graph's bytes.

    `codes`: number by category by input; `unknown`: number of a category that is in none;
    `trees`: a fitted HistGradientBoostingClassifier over [categorical..., numeric...].
    """
    from onnx import TensorProto, checker, helper  # noqa: PLC0415 - heavy, this step only

    nodes = [_encoder(name, codes[name], unknown) for name in CATEGORICAL]
    encoded = [*(f"{name}.code" for name in CATEGORICAL), *NUMERIC]
    nodes.append(helper.make_node("Concat", encoded, ["features"], axis=1))
    nodes.append(_ensemble(trees))
    nodes.append(helper.make_node("Sigmoid", ["log_odds"], [OUTPUT]))
    kinds = dict.fromkeys(CATEGORICAL, TensorProto.STRING) | dict.fromkeys(
        NUMERIC, TensorProto.FLOAT
    )
    graph = helper.make_graph(
        nodes,
        "flights_late",
        [helper.make_tensor_value_info(name, kinds[name], ["rows", 1]) for name in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 1])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="headrace"
    )
    checker.check_model(model)
    exported: bytes = model.SerializeToString(deterministic=True)
    return exported


def _encoder(name: str, codes: Mapping[str, float], unknown: float) -> NodeProto:
    from onnx import helper  # noqa: PLC0415

    return helper.make_node(
        "LabelEncoder",
        [name],
        [f"{name}.code"],
        domain="ai.onnx.ml",
        keys_strings=list(codes),
        values_floats=list(codes.values()),
        default_float=unknown,
    )


def _ensemble(trees: Any) -> NodeProto:
    """HistGradientBoosting's trees (`_predictors[i][0].nodes`) as one TreeEnsembleRegressor."""
    from onnx import helper  # noqa: PLC0415

    grown = [tree.nodes for (tree,) in trees._predictors]  # noqa: SLF001 - no public way
    nodes = np.concatenate(grown)
    if nodes["is_categorical"].any():
        raise Refused("trees that split on sets of categories cannot be exported: encode them")
    leaf = nodes["is_leaf"].astype(bool)
    tree_ids = np.repeat(np.arange(len(grown)), [len(tree) for tree in grown])
    node_ids = np.concatenate([np.arange(len(tree)) for tree in grown])
    thresholds = np.where(leaf, 0.0, rounded_down(nodes["num_threshold"]))
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["log_odds"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        base_values=trees._baseline_prediction.ravel().tolist(),  # noqa: SLF001
        nodes_treeids=tree_ids.tolist(),
        nodes_nodeids=node_ids.tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        nodes_values=thresholds.tolist(),
        nodes_truenodeids=np.where(leaf, 0, nodes["left"]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, nodes["right"]).tolist(),
        nodes_missing_value_tracks_true=np.where(leaf, 0, nodes["missing_go_to_left"]).tolist(),
        target_treeids=tree_ids[leaf].tolist(),
        target_nodeids=node_ids[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()),
        target_weights=nodes["value"][leaf].tolist(),
    )


def rounded_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each value: `x <= value` stays the same for float32 x."""
    nearest = values.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > values, below, nearest)
