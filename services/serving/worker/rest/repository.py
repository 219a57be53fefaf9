"""The model repository: what it has, and asking for models to come and go."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any, Final

from services.serving.documents.json_body import (
    Object,
    flag_of,
    kind,
    object_of,
    parse_object,
    text_of,
)
from services.serving.worker.failure import invalid
from services.serving.worker.rest.asked import Asked
from services.serving.worker.rest.documents import document_of
from services.serving.worker.rest.http import Answer, json_answer

_FILE: Final = "file:"


def index(asked: Asked) -> Answer:
    """A bare array, as Triton answers; `ready` leaves out what cannot answer."""
    request: Any = asked.calls.message("RepositoryIndex")
    request.ready = flag_of(_given(asked).get("ready", False), "field 'ready'")
    found = document_of(asked.calls.ask("RepositoryIndex", request, asked.details))
    return json_answer(found["models"])


def load(asked: Asked) -> Answer:
    """Answered as KServe does; Triton's clients look at the status only."""
    return _change(asked, "RepositoryModelLoad", "load")


def unload(asked: Asked) -> Answer:
    """As `load`."""
    return _change(asked, "RepositoryModelUnload", "unload")


def _change(asked: Asked, method: str, verb: str) -> Answer:
    request: Any = asked.calls.message(method)
    request.model_name = asked.model
    parameters = object_of(_given(asked).get("parameters", {}), "field 'parameters'")
    for name, value in parameters.items():
        _set(request.parameters[name], name, value)
    asked.calls.ask(method, request, asked.details)
    return json_answer({"name": asked.model, verb: True})


def _set(parameter: Any, name: str, value: object) -> None:
    field = f"parameter '{name}'"
    if name.startswith(_FILE):
        parameter.bytes_param = _decoded(text_of(value, field), field)
        return
    match value:
        case bool():
            parameter.bool_param = value
        case str():
            parameter.string_param = value
        case int() if -(2**63) <= value < 2**63:
            parameter.int64_param = value
        case _:
            raise invalid(
                f"{field}: expected a boolean, an integer of 64 bits or a string, got {kind(value)}"
            )


def _decoded(text: str, field: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"{field}: expected base64, {error}") from error


def _given(asked: Asked) -> Object:
    """The body's object; an empty body is an empty object."""
    asked.check_json_size(len(asked.request.body))
    return parse_object(asked.request.body) if asked.request.body else {}
