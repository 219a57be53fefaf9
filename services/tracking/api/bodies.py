"""JSON as clients send it: decoded once for all, and free of text that no database keeps."""

from __future__ import annotations

import json
from typing import Final

import orjson

from headrace.errors import InvalidInput

_NUL: Final = b"\\u0000"


def decode(body: bytes) -> object:
    """What a JSON text says; a bare NaN or Infinity is taken as well. Raises InvalidInput."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _leniently(body)
    else:
        if _NUL not in body:  # orjson itself refuses lone surrogates
            return document
    check_text(document)
    return document


def check_text(document: object) -> None:
    """Refuse NUL characters and lone surrogates anywhere in it. Raises InvalidInput."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, str) and not _is_text(value):
            raise InvalidInput(
                "The request holds text that is not valid: NUL characters and lone surrogates "
                "cannot be stored.",
                field="body",
            )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _leniently(body: bytes) -> object:
    try:
        return json.loads(body)
    except RecursionError as error:
        raise InvalidInput("The request body is nested too deeply.", field="body") from error
    except ValueError as error:
        raise InvalidInput(f"The request body is not JSON: {error}", field="body") from error
