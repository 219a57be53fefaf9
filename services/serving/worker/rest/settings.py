"""Trace and log settings: reading them, and changing those that the body names."""

from __future__ import annotations

from typing import Any, Final

from services.serving.documents.json_body import Object, kind, list_of, parse_object, text_of
from services.serving.worker.failure import invalid
from services.serving.worker.rest.asked import Asked
from services.serving.worker.rest.http import Answer, json_answer

_LISTS: Final = frozenset({"trace_level"})
"""Settings that Triton writes as an array also when they have one value."""


def trace(asked: Asked) -> Answer:
    """Of one model, or of the server where the path names none; null clears a setting."""
    request: Any = asked.calls.message("TraceSetting")
    request.model_name = asked.model
    for name, value in _given(asked).items():
        request.settings[name].value.extend(_texts(value, f"setting '{name}'"))
    answer: Any = asked.calls.ask("TraceSetting", request, asked.details)
    settings = {name: list(answer.settings[name].value) for name in answer.settings}
    return json_answer({name: _shown(name, values) for name, values in settings.items()})


def logging(asked: Asked) -> Answer:
    """The log of the server."""
    request: Any = asked.calls.message("LogSettings")
    for name, value in _given(asked).items():
        _set(request.settings[name], value, f"setting '{name}'")
    answer: Any = asked.calls.ask("LogSettings", request, asked.details)
    found: Object = {}
    for name in answer.settings:
        choice = answer.settings[name].WhichOneof("parameter_choice")
        found[name] = getattr(answer.settings[name], choice) if choice else None
    return json_answer(found)


def _given(asked: Asked) -> Object:
    if asked.request.method != "POST" or not asked.request.body:
        return {}
    asked.check_json_size(len(asked.request.body))
    return parse_object(asked.request.body)


def _texts(value: object, field: str) -> list[str]:
    if value is None:
        return []
    if type(value) is int:
        return [str(value)]
    if type(value) is str:
        return [value]
    return [text_of(each, f"{field}[{at}]") for at, each in enumerate(list_of(value, field))]


def _shown(name: str, values: list[str]) -> object:
    return values[0] if len(values) == 1 and name not in _LISTS else values


def _set(setting: Any, value: object, field: str) -> None:
    match value:
        case bool():
            setting.bool_param = value
        case str():
            setting.string_param = value
        case int() if 0 <= value < 2**32:
            setting.uint32_param = value
        case _:
            raise invalid(
                f"{field}: expected a boolean, an integer of 32 bits or a string, got {kind(value)}"
            )
