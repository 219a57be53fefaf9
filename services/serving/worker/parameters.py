"""The request parameters that mean something here.

Those that the protocol reserves for servers that have them (`sequence_*`, `headers`,
`binary_data_output`, `triton_*`) and those that nobody knows are let pass, as Triton does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headrace.limits import LATEST_US
from headrace.rpc.inference.open_inference_pb2 import InferParameter
from services.serving.worker.failure import invalid

EVENT_TIME: Final = "event_time_us"
PRIORITY: Final = "priority"
TIMEOUT: Final = "timeout"
TYPED: Final = "typed_contents"
LEVELS: Final = 10
"""Priorities are 1, the highest, to this."""
DEFAULT_LEVEL: Final = 5
_NS_PER_US: Final = 1000
_KINDS: Final = {
    PRIORITY: ("int64_param", "uint64_param"),
    TIMEOUT: ("int64_param", "uint64_param"),
    TYPED: ("bool_param",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """`timeout_ns` bounds the wait for a turn; `typed` asks for typed instead of raw contents."""

    event_time_us: int | None = None
    priority: int = DEFAULT_LEVEL
    timeout_ns: int | None = None
    typed: bool = False


PLAIN: Final = Options()


def read_options(parameters: Mapping[str, InferParameter]) -> Options:
    """The options of a request. Raises Failure (INVALID_ARGUMENT) for what cannot be meant."""
    if not parameters:
        return PLAIN
    timeout = _number(parameters, TIMEOUT)
    return Options(
        event_time_us=_event_time(parameters),
        priority=_level(_number(parameters, PRIORITY)),
        timeout_ns=timeout * _NS_PER_US if timeout else None,
        typed=TYPED in parameters and bool(_value(parameters, TYPED)),
    )


def _level(asked: int) -> int:
    """As in Triton, 0 and levels that there are not stand for the default."""
    return asked if 1 <= asked <= LEVELS else DEFAULT_LEVEL


def _number(parameters: Mapping[str, InferParameter], name: str) -> int:
    """0 when it is not given."""
    value = int(_value(parameters, name)) if name in parameters else 0
    if value < 0:
        raise invalid(f"parameter '{name}' must not be negative, got {value}")
    return value


def _value(parameters: Mapping[str, InferParameter], name: str) -> int | bool:
    parameter, kinds = parameters[name], _KINDS[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in kinds:
        raise invalid(
            f"invalid value type for '{name}' parameter, expected {' or '.join(kinds)}, "
            f"got {kind or 'nothing'}"
        )
    value: int | bool = getattr(parameter, kind)
    return value


def _event_time(parameters: Mapping[str, InferParameter]) -> int | None:
    """Event time of the rows in microseconds since the epoch, if the client gave one."""
    if EVENT_TIME not in parameters:
        return None
    parameter = parameters[EVENT_TIME]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in {"int64_param", "uint64_param"}:
        raise invalid(
            f"parameter '{EVENT_TIME}' must be an int64 of microseconds since the epoch, "
            f"got {kind or 'nothing'}"
        )
    value = parameter.int64_param if kind == "int64_param" else parameter.uint64_param
    if not 0 <= value <= LATEST_US:
        raise invalid(
            f"parameter '{EVENT_TIME}' must be microseconds since the epoch, 0 to {LATEST_US}, "
            f"got {value}"
        )
    return value
