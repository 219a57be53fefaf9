"""Features out of the prediction log: numbers of any type, by the names of a plan."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import Refused
from headrace.events import PredictionLogged
from headrace.learning import Plan
from headrace.rpc.serving.v1.prediction_log_pb2 import Tensor
from services.serving.learner.features import inputs_of, rows_of


def _record(*tensors: Tensor) -> PredictionLogged:
    return PredictionLogged(model="m", version=1, prediction_ids=["a/0", "b/0"], inputs=tensors)


def _plan(*features: str) -> Plan:
    return Plan(kind="linear_regression", features=features)


AGE = Tensor(name="age", datatype="INT16", shape=[2], data=np.array([3, 4], "<i2").tobytes())
WIDE = Tensor(
    name="x", datatype="FP32", shape=[2, 2], data=np.array([[1, 2], [5, 6]], "<f4").tobytes()
)
TEXT = Tensor(name="note", datatype="BYTES", shape=[2], data=b"\x01\x00\x00\x00a\x00\x00\x00\x00")


def test_columns_come_in_the_order_of_the_plan() -> None:
    rows = rows_of(_record(WIDE, AGE, TEXT), _plan("age", "x[1]", "x[0]"))
    np.testing.assert_array_equal(rows, [[3, 2, 1], [4, 6, 5]])


def test_inputs_are_told_whatever_is_learned_from_them() -> None:
    found = [(each.name, each.datatype, each.shape) for each in inputs_of(_record(WIDE, TEXT))]
    assert found == [("x", "FP32", (-1, 2)), ("note", "BYTES", (-1,))]


@pytest.mark.parametrize(
    ("tensor", "feature", "reason"),
    [
        (TEXT, "note", "feature 'note' is not among the logged numbers of version 1 of m"),
        (Tensor(name="h", datatype="BYTES", shape=[2], hashed=True), "h", "there are none"),
        (Tensor(name="y", datatype="FP32", shape=[2], data=b"123"), "y", "not what it says"),
        (Tensor(name="y", datatype="FP32", shape=[1], data=bytes(4)), "y", "not what it says"),
        (Tensor(name="y", datatype="FP32", data=bytes(4)), "y", "not what it says"),
        (Tensor(name="y", datatype="FP32", shape=[2, 10**9]), "y", "values a row"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(tensor: Tensor, feature: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        rows_of(_record(tensor), _plan(feature))
