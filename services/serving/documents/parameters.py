"""The `parameters` objects of the protocol and its InferParameter messages."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

from headrace.rpc.inference.open_inference_pb2 import InferParameter
from services.serving.documents.json_body import Object, kind
from services.serving.worker.failure import invalid

_TOP: Final = 2**63


def put(
    target: MutableMapping[str, InferParameter], given: Object, field: str, *, leave: frozenset[str]
) -> None:
    """Copy what is given, without the names that HTTP alone knows. Raises Failure."""
    for name, value in given.items():
        if name not in leave:
            _set(target[name], value, f"{field} '{name}'")


def _set(parameter: InferParameter, value: object, field: str) -> None:
    match value:
        case bool():
            parameter.bool_param = value
        case str():
            parameter.string_param = value
        case float():
            parameter.double_param = value
        case int() if -_TOP <= value < _TOP:
            parameter.int64_param = value
        case int() if 0 <= value < 2 * _TOP:
            parameter.uint64_param = value
        case _:
            raise invalid(
                f"{field}: expected a boolean, a number of at most 64 bits or a string, "
                f"got {kind(value)}"
            )


def document(parameters: Mapping[str, InferParameter]) -> Object:
    """Parameters as JSON has them."""
    found: Object = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found
