"""What is told of errors."""

from __future__ import annotations

import orjson

from headrace.errors import Refused
from services.serving.domain.reasons import reason_of


def test_reason_of_an_error_of_ours_is_what_it_says() -> None:
    assert reason_of(Refused("model.onnx is empty")) == "model.onnx is empty"


def test_reason_names_the_type_of_another_error() -> None:
    assert reason_of(KeyError("layers")) == "KeyError: 'layers'"


def test_what_neither_json_nor_postgresql_holds_is_escaped() -> None:
    reason = reason_of(Refused("tensor a\0b\ud800"))
    assert reason == r"tensor a\0b\ud800"
    assert orjson.loads(orjson.dumps(reason)) == reason
