"""Records of other protocols in the outbox: key and headers are bytes, so in base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import orjson

from headrace.runtime.bus.model import Verbatim


def kept(verbatim: Verbatim | None) -> dict[str, Any] | None:
    """As a JSON column keeps it."""
    if verbatim is None:
        return None
    return {
        "key": None if verbatim.key is None else b64encode(verbatim.key).decode(),
        "headers": [[name, b64encode(value).decode()] for name, value in verbatim.headers],
        "partition": verbatim.partition,
    }


def read(column: str | None) -> Verbatim | None:
    """From the column as text."""
    if column is None:
        return None
    found = orjson.loads(column)
    return Verbatim(
        key=None if found["key"] is None else b64decode(found["key"]),
        headers=[(name, b64decode(value)) for name, value in found["headers"]],
        partition=found["partition"],
    )
