"""Page tokens: opaque to clients, base64 of `{"offset": N}` as MLflow's."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import orjson

from headrace.errors import InvalidInput

_MOST: Final = 2**53


def offset_of(token: str | None) -> int:
    """How many results earlier pages held. Raises InvalidInput."""
    if not token:
        return 0
    try:
        decoded = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("Invalid page token, could not base64-decode") from error
    try:
        document = orjson.loads(decoded)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"Invalid page token, decoded value={decoded!r}") from error
    offset = document.get("offset") if isinstance(document, dict) else None
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 < offset < _MOST:
        raise _invalid(f"Invalid page token, parsed value={document}")
    return offset


def next_token(offset: int) -> str:
    """The token of the page that begins after `offset` results."""
    return base64.b64encode(orjson.dumps({"offset": offset})).decode()


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, field="page_token")
