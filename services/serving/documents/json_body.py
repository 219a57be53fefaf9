"""Reading the JSON of a request, by a strict parser that also knows NaN and Infinity.

RFC 8259 has no NaN and no Infinity, but Triton, its clients and Python's own `json` write and read
them as bare words. So do we: a float survives REST as it survives gRPC.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from services.serving.worker.failure import invalid

_WORDS: Final = (b"NaN", b"Infinity")
_SHOWN: Final = 40

Object = dict[str, Any]


def parse_object(body: bytes) -> Object:
    """The object that the body is. Raises Failure when it is none."""
    document = _parse(body)
    if not isinstance(document, dict):
        raise invalid(f"failed to parse the request JSON: expected an object, got {kind(document)}")
    return document


def _parse(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if any(word in body for word in _WORDS):
            return _parse_with_words(body)
        raise invalid(f"failed to parse the request JSON: {error}") from error


def _parse_with_words(body: bytes) -> object:
    try:
        document = json.loads(body)
        # Lone surrogates and giant integers end here, as they do in the strict parser.
        orjson.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid(f"failed to parse the request JSON: {error}") from error
    return document


def kind(value: object) -> str:
    """What a value is, in JSON's words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"the number {shown(value)}"
        case str():
            return f"the string {shown(value)}"
        case list():
            return "an array"
        case _:
            return "an object"


def shown(value: object) -> str:
    """A value for a message, cut short."""
    if isinstance(value, int) and value.bit_length() > 256:
        return "of more than 256 bits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def text_of(value: object, field: str) -> str:
    """A string. Raises Failure that names the field, as all of these do."""
    if type(value) is str:
        return value
    raise invalid(f"{field}: expected a string, got {kind(value)}")


def flag_of(value: object, field: str) -> bool:
    """A boolean."""
    if type(value) is bool:
        return value
    raise invalid(f"{field}: expected a boolean, got {kind(value)}")


def size_of(value: object, field: str) -> int:
    """An integer of 0 or more that an int64 holds."""
    if type(value) is int and 0 <= value < 2**63:
        return value
    raise invalid(f"{field}: expected an integer from 0 to {2**63 - 1}, got {kind(value)}")


def sizes_of(value: object, field: str) -> list[int]:
    """An array of such integers: a shape."""
    sizes = list_of(value, field)
    for place, size in enumerate(sizes):
        if not (type(size) is int and 0 <= size < 2**63):
            size_of(size, f"{field}[{place}]")
    return sizes


def object_of(value: object, field: str) -> Object:
    """An object."""
    if type(value) is dict:
        return value
    raise invalid(f"{field}: expected an object, got {kind(value)}")


def list_of(value: object, field: str) -> list[Any]:
    """An array."""
    if type(value) is list:
        return value
    raise invalid(f"{field}: expected an array, got {kind(value)}")
